// Starts the page and connects its controls.

let scene = null;
let drawn = false; // a redraw is scheduled

function draw() {
  if (drawn) return;
  drawn = true;
  requestAnimationFrame(() => {
    drawn = false;
    const measure = data.measures[state.measure];
    byId("label").textContent =
      `${data.labels[state.frame]} \u00b7 ${measure.name} ${format(measure.values[state.frame], measure.unit)}`;
    slider.value = state.frame;
    scene?.show(state.frame);
    drawViews();
    drawHeatmaps();
    drawTimeline();
    drawJointTable();
  });
}

function show(frame) {
  frameRows[state.frame]?.classList.remove("current");
  state.frame = frame;
  frameRows[frame]?.classList.add("current");
  draw();
}

function restyle() {
  scene?.restyle();
  drawScale();
  draw();
}

function resize() {
  layoutViews();
  scene?.resize();
  draw();
}

function addLegend(color, text) {
  const item = element("li", "", byId("legend"));
  element("i", "", item).style.background = color;
  item.append(text);
}

function start() {
  byId("title").textContent = data.title;
  byId("facts").textContent = data.facts.join(" \u00b7 ");
  byId("pictures-note").textContent = data.pictures_note;
  for (const side of ["left", "right", "middle"]) addLegend(data.colors[side], side);
  if (data.gt) addLegend("var(--gt)", "ground truth");
  addSwitch("scene-switches", "prediction", "pose", "Show the predicted pose");
  if (data.gt) addSwitch("scene-switches", "gt", "ground truth", "Show the ground truth");
  addSwitch("scene-switches", "cameras", "cameras", "Show the cameras");
  addSwitch("scene-switches", "follow", "follow", "Keep the person in the middle");
  addSwitch("view-switches", "joints", "joints", "Show the reprojected joints");
  if (data.pictures.some((picture) => picture.views.some((view) => view.detections)))
    addSwitch("view-switches", "detections", "detections", "Circles: kept detections. Crosses: rejected detections");
  if (pictures.size && pictures.size < numFrames)
    addSwitch("play-switches", "pictured", "pictures only", "Play, step and slider visit only frames with pictures");
  for (const speed of ["0.25", "0.5", "1", "2"]) element("option", `${speed}\u00d7`, byId("speed")).value = speed;
  byId("speed").value = "1";
  data.measures.forEach((measure, index) => (element("option", measure.name, byId("measure")).value = index));
  slider.max = numFrames - 1;

  byId("previous").addEventListener("click", () => {
    play(false);
    step(-1);
  });
  byId("next").addEventListener("click", () => {
    play(false);
    step(1);
  });
  byId("play").addEventListener("click", () => play(!state.playing));
  byId("worst").addEventListener("click", () => {
    play(false);
    show(worstFrame());
  });
  slider.addEventListener("input", () => {
    play(false);
    show(nearest(Number(slider.value)));
  });
  byId("measure").addEventListener("change", (event) => {
    state.measure = Number(event.target.value);
    drawScale();
    draw();
  });
  byId("fit-person").addEventListener("click", () => scene?.fitPerson());
  byId("fit-cameras").addEventListener("click", () => scene?.fitCameras());
  byId("theme").addEventListener("click", () => {
    const root = document.documentElement;
    root.dataset.theme = root.dataset.theme === "dark" ? "light" : "dark";
    restyle();
  });
  const line = byId("timeline");
  line.addEventListener("pointerdown", (event) => {
    line.setPointerCapture(event.pointerId);
    play(false);
    show(nearest(timelineFrame(event)));
  });
  line.addEventListener("pointermove", (event) => {
    hover(event);
    if (event.buttons) show(nearest(timelineFrame(event)));
  });
  line.addEventListener("pointerleave", () => {
    line.lastElementChild.textContent = "";
  });
  document.addEventListener("keydown", (event) => {
    if (["INPUT", "SELECT"].includes(event.target.tagName) && event.target.type !== "checkbox") return;
    const actions = {
      ArrowLeft: () => {
        play(false);
        step(-1);
      },
      ArrowRight: () => {
        play(false);
        step(1);
      },
      w: () => {
        play(false);
        show(worstFrame());
      },
      " ": () => play(!state.playing),
    };
    if (event.key === " " && ["BUTTON", "INPUT"].includes(event.target.tagName)) return; // the key presses the button
    if (actions[event.key]) {
      event.preventDefault();
      actions[event.key]();
    }
  });
  if (matchMedia("(prefers-color-scheme: dark)").matches) document.documentElement.dataset.theme = "dark";

  makeHeatmaps();
  makeOwnTables();
  makeReport();
  layoutViews();
  if (document.createElement("canvas").getContext("webgl2")) {
    scene = new Scene(byId("canvas"));
    scene.resize();
    if (options.follow) scene.fitPerson();
    else scene.fitCameras();
  } else element("p", "The 3D view needs WebGL, which this browser does not offer.", byId("canvas"));
  restyle();
  new ResizeObserver(resize).observe(byId("stage"));
  show(data.pictures.length ? nearest(0) : 0);
  document.documentElement.dataset.ready = "true";
}

start();
