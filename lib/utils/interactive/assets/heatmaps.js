// Heatmaps of one joint or all joints, drawn over the views.

const mapped = data.pictures.filter((picture) => picture.views.some((view) => view.heatmaps));
const hasHeatmaps = mapped.length > 0;
const kinds = hasHeatmaps ? data.heatmaps.kinds : [];
// Dark red, orange, yellow: ordered by lightness; 0 is transparent.
const HEAT = [
  [120, 10, 60],
  [220, 60, 40],
  [250, 150, 30],
  [255, 245, 160],
];
const FAINT_PEAK = 0.3;
const mapCells = new Map();

function makeHeatmaps() {
  if (!hasHeatmaps) return;
  byId("heatmaps").hidden = false;
  const select = byId("joint");
  ["all joints", ...data.skeleton.names].forEach((name, index) => (element("option", name, select).value = index - 1));
  select.addEventListener("change", () => {
    state.joint = Number(select.value);
    draw();
  });
  for (const kind of kinds) {
    element("b", kind, byId("maps"));
    mapCells.set(
      kind,
      names.map((name) => {
        const figure = element("figure", "", byId("maps"));
        const caption = element("figcaption", "", figure);
        element("b", name, caption);
        return { note: element("span", "", caption), canvas: element("canvas", "", figure) };
      }),
    );
  }
}

// Values 0 to 255 (255: 1 and more) of a joint, or their maximum over all joints (-1).
function heatValues(sprite, joint) {
  const {
    tile: [width, height],
    columns,
  } = data.heatmaps;
  const canvas = element("canvas");
  canvas.width = sprite.naturalWidth;
  canvas.height = sprite.naturalHeight;
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.drawImage(sprite, 0, 0);
  const values = new Uint8ClampedArray(width * height);
  for (const one of joint < 0 ? data.skeleton.names.keys() : [joint]) {
    const tile = context.getImageData((one % columns) * width, Math.floor(one / columns) * height, width, height).data;
    for (let pixel = 0; pixel < values.length; pixel++) values[pixel] = Math.max(values[pixel], tile[4 * pixel]);
  }
  return { width, height, values, peak: values.reduce((a, b) => Math.max(a, b), 0) / 255 };
}

function colored({ width, height, values }, top) {
  const canvas = element("canvas");
  canvas.width = width;
  canvas.height = height;
  const context = canvas.getContext("2d");
  const pixels = context.createImageData(width, height);
  values.forEach((value, pixel) => {
    const share = Math.min(1, value / top);
    const place = share * (HEAT.length - 1);
    const low = Math.min(Math.floor(place), HEAT.length - 2);
    for (let channel = 0; channel < 3; channel++)
      pixels.data[4 * pixel + channel] =
        HEAT[low][channel] + (place - low) * (HEAT[low + 1][channel] - HEAT[low][channel]);
    pixels.data[4 * pixel + 3] = Math.min(255, 255 * share * 1.8);
  });
  context.putImageData(pixels, 0, 0);
  return canvas;
}

// The frame itself or the nearest one with heatmaps: a recording keeps those of a few frames.
function pictureWithHeatmaps() {
  return mapped.reduce((best, one) =>
    Math.abs(one.frame - state.frame) < Math.abs(best.frame - state.frame) ? one : best,
  );
}

function drawHeatmaps() {
  if (!hasHeatmaps) return;
  const picture = pictureWithHeatmaps();
  const near = picture.frame === state.frame ? "" : `Nearest of ${mapped.length} frames: ${data.labels[picture.frame]}. `;
  byId("heatmap-note").textContent = `${near}One color scale for all maps of a frame.`;
  const narrowest = Math.min(...data.picture_sizes.map(([w, h]) => w / h));
  const width = Math.min(340, 320 * narrowest, (byId("maps").clientWidth - 24 - 70 - 10 * names.length) / names.length);
  byId("maps").style.gridTemplateColumns = `70px repeat(${names.length}, ${width}px)`;
  const heats = new Map(
    kinds.map((kind) => [
      kind,
      names.map((_, view) => {
        const url = picture.views[view].heatmaps?.[kind];
        const sprite = url && image(url);
        return sprite ? heatValues(sprite, state.joint) : null;
      }),
    ]),
  );
  // One scale for all maps of the frame; lower peaks are drawn fainter.
  const top = 255 * Math.max(FAINT_PEAK, ...[...heats.values()].flat().map((heat) => heat?.peak ?? 0));
  for (const kind of kinds) {
    mapCells.get(kind).forEach((cell, view) => {
      const [w, h] = data.picture_sizes[view];
      const scale = width / w;
      const context = sized(cell.canvas, width, h * scale);
      cell.note.textContent = "";
      const shown = picture.views[view];
      const loaded = image(shown.image);
      if (loaded) {
        context.filter = "grayscale(1) brightness(0.4)";
        context.drawImage(loaded, 0, 0, width, h * scale);
        context.filter = "none";
      }
      const heat = heats.get(kind)[view];
      if (!heat) {
        if (!shown.heatmaps?.[kind]) cell.note.textContent = "not in this file";
        return;
      }
      cell.note.textContent = `peak ${heat.peak.toFixed(2)}`;
      context.save();
      context.scale(scale, scale);
      context.transform(...shown.heatmap_to_picture); // heatmap px (corner at 0) -> picture px
      context.imageSmoothingQuality = "high";
      context.drawImage(colored(heat, top), 0, 0);
      context.restore();
    });
  }
}
