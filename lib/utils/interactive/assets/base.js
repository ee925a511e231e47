"use strict";
// Data and state of a page written by pose_page.py, and helpers. The scripts of this folder share one scope.
// Lengths are mm in the data and m in the scene, z is up.
// All text of the data enters the page as textContent, never as HTML.

const data = JSON.parse(document.getElementById("data").textContent);
const byId = (id) => document.getElementById(id);
const numFrames = data.labels.length;
const names = data.rigs[0].map((camera) => camera.name);
const pictures = new Map(data.pictures.map((picture) => [picture.frame, picture]));
const options = {
  prediction: true,
  gt: true,
  cameras: true,
  joints: true,
  detections: false,
  follow: data.rate === null,
  pictured: pictures.size > 0,
};
const state = { frame: 0, measure: 0, joint: -1, playing: false };

function element(tag, text = "", parent = null) {
  const made = document.createElement(tag);
  made.textContent = text;
  parent?.append(made);
  return made;
}

const finite = (value) => value !== null && Number.isFinite(value);
const format = (value, unit) =>
  finite(value) ? `${value.toFixed(Math.abs(value) < 10 ? 1 : 0)} ${unit}`.trim() : "unknown";
const themed = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

function addSwitch(parent, name, text, title) {
  const label = element("label", "", byId(parent));
  label.title = title;
  const box = element("input", "", label);
  box.type = "checkbox";
  box.id = `show-${name}`;
  box.checked = options[name];
  label.append(text);
  box.addEventListener("change", () => {
    options[name] = box.checked;
    draw();
  });
}

// Canvas in device pixels, for a size in CSS pixels; returns its context, scaled to CSS pixels.
function sized(canvas, width, height) {
  const ratio = window.devicePixelRatio || 1;
  canvas.width = Math.max(1, Math.round(width * ratio));
  canvas.height = Math.max(1, Math.round(height * ratio));
  canvas.style.width = `${width}px`;
  canvas.style.height = `${height}px`;
  const context = canvas.getContext("2d");
  context.scale(ratio, ratio);
  return context;
}
