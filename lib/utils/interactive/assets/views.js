// The views with the projected pose and the detections.

const images = new Map(); // data URL -> Image
function image(url) {
  if (!url) return null;
  if (!images.has(url)) {
    const made = new Image();
    made.addEventListener("load", () => draw());
    made.src = url;
    images.set(url, made);
  }
  const found = images.get(url);
  return found.complete && found.naturalWidth ? found : null;
}

const cells = names.map((name) => {
  const figure = element("figure", "", byId("pictures"));
  const caption = element("figcaption", "", figure);
  element("b", name, caption).title = name;
  return { note: element("span", "", caption), canvas: element("canvas", "", figure) };
});

const MIN_GAIN = 1.05; // of the width, for more columns
const [CAPTION_GAP_PX, LINE_PX, VIEW_GAP_PX] = [8, 18, 8]; // as in page.css
// Widths of the widest name, and of the widest caption in one line.
function captionWidths() {
  const context = element("canvas").getContext("2d");
  const widest = (texts, weight) => {
    context.font = `${weight} 12px ${getComputedStyle(document.body).fontFamily}`;
    return Math.ceil(Math.max(0, ...texts.map((text) => context.measureText(text).width)));
  };
  const notes = new Set(data.pictures.flatMap((picture) => picture.views.map((view) => view.note)));
  const name = widest(names, 600);
  return { name, line: name + CAPTION_GAP_PX + widest([...notes], 400) };
}

const caption = captionWidths();
// The number of columns with the largest pictures, in which no name is cut. Long captions take two lines.
function layoutViews() {
  const box = byId("pictures");
  const [width, height] = [box.clientWidth - 24, box.clientHeight];
  const aspect = Math.max(...data.picture_sizes.map(([w, h]) => w / h));
  let best = { width: 0 };
  for (let columns = 1; columns <= names.length; columns++) {
    const rows = Math.ceil(names.length / columns);
    const column = (width - VIEW_GAP_PX * (columns - 1)) / columns;
    if (columns > 1 && column < caption.name) break;
    const lines = caption.line > column ? 2 : 1;
    const row = (height - VIEW_GAP_PX * (rows - 1)) / rows;
    const fit = Math.floor(Math.min(column, (row - lines * LINE_PX) * aspect));
    if (fit > MIN_GAIN * best.width)
      best = { width: fit, columns, caption: lines > 1 ? caption.name : caption.line };
  }
  if (!best.columns) return;
  box.style.gridTemplateColumns = `repeat(${best.columns}, ${Math.max(best.width, best.caption)}px)`;
  cells.forEach((cell, view) => {
    const [w, h] = data.picture_sizes[view];
    const fit = Math.min(best.width / w, best.width / aspect / h);
    cell.width = w * fit;
    cell.height = h * fit;
  });
}

function drawPose(context, joints, scale, colorOf, lineWidth, radius) {
  const at = joints.map((point) => point && [(point[0] + 0.5) * scale, (point[1] + 0.5) * scale]);
  context.lineCap = "round";
  context.lineWidth = lineWidth;
  for (const [parent, child] of data.skeleton.edges) {
    if (!at[parent] || !at[child]) continue;
    context.strokeStyle = colorOf(data.skeleton.sides[child]);
    context.beginPath();
    context.moveTo(...at[parent]);
    context.lineTo(...at[child]);
    context.stroke();
  }
  at.forEach((point, joint) => {
    if (!point) return;
    context.fillStyle = colorOf(data.skeleton.sides[joint]);
    context.beginPath();
    context.arc(...point, radius, 0, 7);
    context.fill();
  });
}

// Detections: white circles; rejected ones: red crosses.
function drawDetections(context, shown, scale) {
  shown.detections.forEach((point, joint) => {
    if (!point) return;
    const [x, y] = [(point[0] + 0.5) * scale, (point[1] + 0.5) * scale];
    const kept = shown.kept[joint];
    for (const [color, width] of [
      ["#000c", 3.5],
      [kept ? "#fff" : "#ff5a5f", 1.7],
    ]) {
      context.strokeStyle = color;
      context.lineWidth = width;
      context.beginPath();
      if (kept) context.arc(x, y, 4.5, 0, 7);
      else
        for (const side of [-1, 1]) {
          context.moveTo(x - 4, y - 4 * side);
          context.lineTo(x + 4, y + 4 * side);
        }
      context.stroke();
    }
  });
}

function drawViews() {
  const picture = pictures.get(state.frame);
  cells.forEach((cell, view) => {
    const context = sized(cell.canvas, cell.width ?? 1, cell.height ?? 1);
    const shown = picture?.views[view];
    cell.note.textContent = shown?.note ?? "";
    if (!shown) {
      context.fillStyle = themed("--quiet");
      context.font = `12px ${getComputedStyle(document.body).fontFamily}`;
      context.textAlign = "center";
      context.fillText(
        data.pictures.length ? "no picture of this frame" : "no pictures",
        cell.width / 2,
        cell.height / 2,
      );
      return;
    }
    const scale = cell.width / data.picture_sizes[view][0];
    const loaded = image(shown.image);
    if (loaded) context.drawImage(loaded, 0, 0, cell.width, cell.height);
    const size = Math.max(1, Math.min(cell.width, cell.height) / 150);
    if (options.joints && options.gt && shown.gt)
      drawPose(context, shown.gt, scale, () => "#ffffff", 1.1 * size, 1.3 * size);
    if (options.joints && options.prediction)
      drawPose(context, shown.joints, scale, (side) => data.colors[side], 1.9 * size, 2.3 * size);
    if (options.detections && shown.detections) drawDetections(context, shown, scale);
  });
}
