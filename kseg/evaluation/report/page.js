
(() => {
  "use strict";
  const all = (selector, within = document) => [...within.querySelectorAll(selector)];
  const boxes = all("#filter input[type=checkbox]");
  const chosen = new Set(boxes.map((box) => Number(box.value)));
  const colors = boxes.map((box) => [1, 3, 5].map((at) => parseInt(box.dataset.color.slice(at, at + 2), 16)));
  const [RED, BLUE, ORANGE, VOID] = [[209, 52, 58], [36, 115, 200], [240, 160, 32], [128, 128, 128]];
  const [UNSURE, SURE] = [[255, 228, 92], [12, 31, 77]];

  async function pixelsOf(image) {
    await image.decode();
    const canvas = document.createElement("canvas");
    canvas.width = image.naturalWidth;
    canvas.height = image.naturalHeight;
    const context = canvas.getContext("2d", { willReadFrequently: true });
    context.drawImage(image, 0, 0);
    return context.getImageData(0, 0, canvas.width, canvas.height).data;
  }

  const idAt = (data, at) => data[at] + 256 * data[at + 1] - 1; // -1: no class
  const ofClass = (id) => (id < 0 ? [VOID, 150] : chosen.has(id) ? [colors[id], 190] : null);
  const between = (sure) => UNSURE.map((low, index) => low + (SURE[index] - low) * sure);

  const PAINTS = {
    truth: (data, at) => ofClass(idAt(data.truth, at)),
    prediction: (data, at) => ofClass(idAt(data.prediction, at)),
    difference(data, at) {
      const truth = idAt(data.truth, at), guess = idAt(data.prediction, at);
      if (truth < 0) return [VOID, 90];
      if (!data.truth[at + 2]) return null;
      const missed = chosen.has(truth), alarm = chosen.has(guess);
      if (missed && (alarm || chosen.size === boxes.length)) return [RED, 225];
      return missed ? [BLUE, 225] : alarm ? [ORANGE, 225] : null;
    },
    confidence: (data, at) => [between(data.confidence[at] / 255), 215],
  };

  function paint(sample) {
    const { figure, data } = sample, canvas = figure.querySelector("canvas");
    const kind = figure.querySelector("input[type=radio]:checked").value;
    const context = canvas.getContext("2d");
    const image = context.createImageData(canvas.width, canvas.height), pixels = image.data;
    for (let at = 0; at < pixels.length; at += 4) {
      const found = PAINTS[kind](data, at);
      if (found) {
        [pixels[at], pixels[at + 1], pixels[at + 2]] = found[0];
        pixels[at + 3] = found[1];
      }
    }
    context.putImageData(image, 0, 0);
  }

  function wipe(figure) {
    const share = figure.querySelector("input[type=range]").value;
    figure.querySelector("canvas").style.clipPath = `inset(0 0 0 ${share}%)`;
  }

  const samples = [];

  async function begin(figure) {
    const sample = { figure, data: {} };
    for (const image of all("img.data", figure)) sample.data[image.dataset.kind] = await pixelsOf(image);
    samples.push(sample);
    figure.addEventListener("input", (event) => {
      if (event.target.type === "range") wipe(figure);
      else paint(sample);
    });
    wipe(figure);
    paint(sample);
  }

  function filter() {
    chosen.clear();
    for (const box of boxes) if (box.checked) chosen.add(Number(box.value));
    for (const part of all("[data-class]")) part.hidden = !chosen.has(Number(part.dataset.class));
    document.getElementById("chosen").value = `${chosen.size} of ${boxes.length} classes`;
    for (const table of all("table.matrix")) makeReachable(table);
    samples.forEach(paint);
  }

  function choose(value) {
    for (const box of boxes) if (!box.closest("li").hidden) box.checked = value;
    filter();
  }

  function makeReachable(table) { // one cell for Tab, the others by arrows
    const cells = all("td", table), seen = cells.filter((cell) => cell.offsetParent);
    if (seen.length && !seen.some((cell) => cell.tabIndex === 0)) {
      for (const cell of cells) cell.tabIndex = -1;
      seen[0].tabIndex = 0;
    }
  }

  function tell(cell) {
    const table = cell.closest("table"), section = cell.closest("section");
    const truth = cell.parentElement.querySelector("th").textContent;
    const guess = table.querySelector(`thead [data-class="${cell.dataset.class}"]`).textContent;
    section.querySelector(".readout").value =
      `truth ${truth}, predicted ${guess}: ${cell.dataset.count} pixels, ${cell.dataset.share} % of the row`;
  }

  function move(event) {
    const step = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] }[event.key];
    const cell = event.target.closest("td");
    if (!step || !cell) return;
    event.preventDefault();
    const rows = all("tbody tr", cell.closest("table")).filter((row) => !row.hidden);
    const cells = (row) => all("td", row).filter((each) => !each.hidden);
    const row = rows[rows.indexOf(cell.parentElement) + step[0]];
    const next = row && cells(row)[cells(cell.parentElement).indexOf(cell) + step[1]];
    if (!next) return;
    cell.tabIndex = -1;
    next.tabIndex = 0;
    next.focus();
  }

  document.getElementById("find").addEventListener("input", (event) => {
    const text = event.target.value.toLocaleLowerCase();
    for (const box of boxes) {
      const item = box.closest("li");
      item.hidden = !item.textContent.toLocaleLowerCase().includes(text);
    }
  });
  document.getElementById("all").addEventListener("click", () => choose(true));
  document.getElementById("none").addEventListener("click", () => choose(false));
  for (const box of boxes) box.addEventListener("change", filter);
  for (const table of all("table.matrix")) {
    for (const kind of ["mouseover", "focusin"]) {
      table.addEventListener(kind, (event) => event.target.closest("td") && tell(event.target.closest("td")));
    }
    table.addEventListener("keydown", move);
  }
  filter();
  Promise.all(all(".sample").map(begin)).then(() => (document.body.dataset.ready = "true"));
})();
