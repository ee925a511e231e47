// The time line, and which frames play, step and slider visit.

const GOOD_TO_BAD = [
  [42, 157, 143],
  [233, 196, 106],
  [209, 73, 91],
];
function mix(share) {
  const place = Math.min(1, Math.max(0, share)) * 2;
  const low = Math.min(1, Math.floor(place));
  const [from, to] = [GOOD_TO_BAD[low], GOOD_TO_BAD[low + 1]];
  return `rgb(${from.map((value, channel) => Math.round(value + (place - low) * (to[channel] - value)))})`;
}

const badness = (measure, value) => (value - measure.good) / (measure.bad - measure.good || 1);
const slider = byId("slider");
const canvas = byId("timeline").firstElementChild;

// One bar per frame, or per pixel column, which then shows its worst frame.
function drawTimeline() {
  const measure = data.measures[state.measure];
  const [width, height] = [byId("timeline").clientWidth, byId("timeline").clientHeight];
  const context = sized(canvas, width, height);
  const bars = Math.min(numFrames, Math.floor(width));
  const top = Math.max(measure.good, measure.bad, ...measure.values.filter(finite).slice(0, 1e5)) || 1;
  const low = height - 6;
  for (let bar = 0; bar < bars; bar++) {
    const [start, stop] = [bar, bar + 1].map((index) => Math.floor((index * numFrames) / bars));
    const known = measure.values.slice(start, stop).filter(finite);
    const value = known.length ? known.reduce((a, b) => (badness(measure, a) >= badness(measure, b) ? a : b)) : null;
    const [x, next] = [start, stop].map((index) => (index * width) / numFrames);
    const gap = width / bars > 5 ? 1 : 0;
    context.fillStyle = value === null ? themed("--line") : mix(badness(measure, value));
    const tall = value === null ? low : Math.max(3, (value / top) * (low - 2));
    context.fillRect(x, low - tall, next - x - gap, tall);
  }
  if (pictures.size < numFrames) {
    context.fillStyle = themed("--quiet");
    for (const frame of pictures.keys()) context.fillRect(((frame + 0.5) * width) / numFrames - 1, height - 4, 2, 4);
  }
  context.fillStyle = themed("--text");
  const x = ((state.frame + 0.5) * width) / numFrames;
  context.fillRect(x - 1, 0, 2, height);
}

function drawScale() {
  const measure = data.measures[state.measure];
  const box = byId("scale");
  box.replaceChildren();
  element("span", format(measure.good, ""), box);
  element("i", "", box).style.background = `linear-gradient(90deg, ${[0, 0.5, 1].map(mix)})`;
  element("span", `${format(measure.bad, "")} ${measure.unit}`, box);
  element("span", measure.note, box);
  const values = measure.values.filter(finite);
  const mean = values.reduce((sum, value) => sum + value, 0) / values.length;
  const ticks = pictures.size && pictures.size < numFrames ? "; ticks: frames with pictures" : "";
  element("span", values.length ? `mean over frames ${format(mean, measure.unit)}${ticks}` : "", box);
}

function worstFrame() {
  const measure = data.measures[state.measure];
  let worst = null;
  measure.values.forEach((value, frame) => {
    if (finite(value) && (worst === null || badness(measure, value) > badness(measure, measure.values[worst])))
      worst = frame;
  });
  return worst ?? 0;
}

// Frames that play and step visit, ascending.
function visited() {
  return options.pictured && pictures.size ? data.pictures.map((picture) => picture.frame) : [...data.labels.keys()];
}

function step(direction) {
  const frames = visited();
  const later =
    direction > 0 ? frames.find((frame) => frame > state.frame) : frames.findLast((frame) => frame < state.frame);
  show(later ?? (direction > 0 ? frames[0] : frames.at(-1)));
}

const DEFAULT_RATE = 4; // frames per second of frames that are not a recording
let started = null;
function play(playing) {
  state.playing = playing;
  byId("play").textContent = playing ? "Pause" : "Play";
  if (!playing) return;
  const frames = visited();
  const rate = data.rate === null ? DEFAULT_RATE : (data.rate * frames.length) / numFrames;
  let index = Math.max(
    0,
    frames.findLastIndex((frame) => frame <= state.frame),
  );
  if (index === frames.length - 1) index = 0;
  const run = (started = { time: null, index });
  const tick = (now) => {
    if (!state.playing || started !== run) return;
    run.time ??= now;
    const perSecond = rate * Number(byId("speed").value);
    const due = Math.floor(((now - run.time) / 1000) * perSecond);
    if (due >= 1) {
      run.index += due;
      run.time += (due / perSecond) * 1000;
      show(frames[Math.min(run.index, frames.length - 1)]);
    }
    if (run.index >= frames.length - 1) play(false);
    else requestAnimationFrame(tick);
  };
  requestAnimationFrame(tick);
}

function timelineFrame(event) {
  const box = byId("timeline").getBoundingClientRect();
  return Math.min(numFrames - 1, Math.max(0, Math.floor(((event.clientX - box.left) / box.width) * numFrames)));
}

function hover(event) {
  const frame = timelineFrame(event);
  const tip = byId("timeline").lastElementChild;
  const measure = data.measures[state.measure];
  tip.textContent = `${data.labels[frame]}: ${format(measure.values[frame], measure.unit)}`;
  const box = byId("timeline").getBoundingClientRect();
  const left = event.clientX - box.left - tip.offsetWidth / 2;
  tip.style.left = `${Math.min(box.width - tip.offsetWidth, Math.max(0, left))}px`;
}

// The nearest frame that play and step visit.
function nearest(wanted) {
  return visited().reduce((best, frame) => (Math.abs(frame - wanted) < Math.abs(best - wanted) ? frame : best));
}
