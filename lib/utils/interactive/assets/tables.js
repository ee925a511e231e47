// Tables of the frame, of all frames, and of the Markdown report; they sort.

function inline(text, parent) {
  for (const part of text.split(/(\*\*[^*]+\*\*|`[^`]+`)/)) {
    if (part.startsWith("**")) element("strong", part.slice(2, -2), parent);
    else if (part.startsWith("`")) element("code", part.slice(1, -1), parent);
    else parent.append(part);
  }
  return parent;
}

const isSummary = (row) => row.cells[0].querySelector("strong") || row.cells[0].textContent === "all"; // stays below

// Sort by a column; again: in the other direction.
function sortBy(table, column) {
  const heads = [...table.tHead.rows[0].cells];
  const ascending = heads[column].getAttribute("aria-sort") === "descending";
  heads.forEach((cell) => cell.removeAttribute("aria-sort"));
  heads[column].setAttribute("aria-sort", ascending ? "ascending" : "descending");
  applyOrder(table);
}

// Bring the rows into the order that the header states.
function applyOrder(table) {
  const column = [...table.tHead.rows[0].cells].findIndex((cell) => cell.hasAttribute("aria-sort"));
  if (column < 0) return;
  const ascending = table.tHead.rows[0].cells[column].getAttribute("aria-sort") === "ascending";
  const key = (row) => row.cells[column].textContent.trim();
  const number = (text) => (text === "" || text === "-" ? NaN : Number(text));
  const rows = [...table.tBodies[0].rows].sort((a, b) => {
    if (!isSummary(a) !== !isSummary(b)) return isSummary(a) ? 1 : -1;
    const [x, y] = [key(a), key(b)];
    const [p, q] = [number(x), number(y)];
    if (Number.isNaN(p) !== Number.isNaN(q)) return Number.isNaN(p) - Number.isNaN(q); // numbers first
    const order = Number.isNaN(p) ? x.localeCompare(y, undefined, { numeric: true }) : p - q;
    return ascending ? order : -order;
  });
  table.tBodies[0].append(...rows);
}

function makeTable(header, rows, parent) {
  const box = element("div", "", parent);
  box.className = "scroll";
  const table = element("table", "", box);
  const head = table.createTHead().insertRow();
  header.forEach((text, column) => {
    const cell = inline(text, element("th", "", head));
    cell.tabIndex = 0;
    cell.title = "Sort";
    cell.addEventListener("click", () => sortBy(table, column));
    cell.addEventListener("keydown", (event) => {
      if (event.key === "Enter") sortBy(table, column);
    });
  });
  const body = table.createTBody();
  for (const row of rows) {
    const line = body.insertRow();
    row.forEach((text) => inline(text, line.insertCell()));
  }
  return table;
}

function panel(title, parent = byId("tables")) {
  const made = element("section", "", parent);
  made.className = "panel";
  if (title) element("h2", title, made);
  return made;
}

// The tables and texts of the Markdown report; its figures are left out.
function makeReport() {
  const split = (line) =>
    line
      .replace(/^\||\|$/g, "")
      .split(/(?<!\\)\|/)
      .map((text) => text.trim().replaceAll("\\|", "|"));
  let title = "";
  let current = null;
  for (const block of data.report.split(/\n{2,}/)) {
    const text = block.trim();
    const heading = /^(#+) (.*)/.exec(text);
    if (heading) {
      title = heading[1] === "#" ? "" : heading[2];
      current = null;
    } else if (text.startsWith("|")) {
      const [header, , ...rows] = text.split("\n").map(split);
      current ??= panel(title);
      if (header.length > 9) current.classList.add("wide");
      makeTable(header, rows, current);
      if (!title) current = null; // tables without a heading have a panel each
    } else if (text && !/^!?\[[^\]]*\]\([^)]*\)$/.test(text)) {
      current ??= panel(title);
      if (text.startsWith("- ")) {
        const list = element("ul", "", current);
        text.split(/\n(?=- )/).forEach((item) => inline(item.slice(2), element("li", "", list)));
      } else inline(text, element("p", "", current));
    }
  }
}

const jointMeasures = data.measures.filter((measure) => measure.joint_values);
const heading = (measure) => (measure.unit ? `${measure.name} (${measure.unit})` : measure.name);
let frameRows = [];
let jointTable = null;

function makeOwnTables() {
  const joints = panel("Joints of this frame");
  jointTable = makeTable(
    ["joint", ...jointMeasures.map(heading)],
    data.skeleton.names.map((name) => [name, ...jointMeasures.map(() => "")]),
    joints,
  );
  const frames = panel("Frames");
  element("p", "A click shows the frame.", frames).className = "hint";
  const rows = data.labels.map((label, frame) => [label, ...data.measures.map((one) => cellText(one.values[frame]))]);
  const table = makeTable(["frame", ...data.measures.map(heading)], rows, frames);
  frameRows = [...table.tBodies[0].rows];
  frameRows.forEach((row, frame) => {
    row.className = "link";
    row.addEventListener("click", () => {
      play(false);
      show(frame);
    });
  });
}

const cellText = (value, digits = 1) => (finite(value) ? value.toFixed(digits) : "-");

function drawJointTable() {
  for (const row of jointTable.tBodies[0].rows) {
    const joint = data.skeleton.names.indexOf(row.cells[0].textContent);
    jointMeasures.forEach((one, column) => {
      row.cells[column + 1].textContent = cellText(one.joint_values[state.frame][joint], one.unit ? 1 : 0);
    });
  }
  applyOrder(jointTable);
}
