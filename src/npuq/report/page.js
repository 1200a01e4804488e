(() => {
  "use strict";
  const table = document.getElementById("table");
  const body = table.tBodies[0];
  const heads = [...table.tHead.rows[0].cells];
  const rows = [...body.rows];
  const key = (row, column) => {
    const cell = row.cells[column];
    if (cell.dataset.key === undefined) return cell.textContent.trim();
    return cell.dataset.key === "" ? null : Number(cell.dataset.key);
  };
  const compare = (a, b) => (typeof a === "number" ? a - b : a.localeCompare(b, undefined, { numeric: true }));
  heads.forEach((head, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = head.textContent;
    head.replaceChildren(button);
    button.addEventListener("click", () => {
      const descending = head.getAttribute("aria-sort") === "ascending";
      heads.forEach((other) => other.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", descending ? "descending" : "ascending");
      rows.sort((one, other) => {
        const [a, b] = [key(one, column), key(other, column)];
        if (a === null || b === null) return (a === null) - (b === null);
        return descending ? compare(b, a) : compare(a, b);
      });
      body.append(...rows);
    });
  });

  const find = document.getElementById("find");
  const found = document.getElementById("found");
  find.addEventListener("input", () => {
    const words = find.value.toLowerCase().split(/\s+/).filter(Boolean);
    let count = 0;
    for (const row of rows) {
      const text = row.textContent.toLowerCase();
      row.hidden = !words.every((word) => text.includes(word));
      count += !row.hidden;
    }
    found.textContent = `${count} layer${count === 1 ? "" : "s"}`;
  });

  for (const figure of document.querySelectorAll("figure[data-labels]")) {
    const labels = JSON.parse(figure.dataset.labels);
    const [left, right] = [Number(figure.dataset.left), Number(figure.dataset.right)];
    const picture = figure.querySelector("svg");
    const readout = figure.querySelector(".readout");
    picture.addEventListener("pointermove", (event) => {
      const box = picture.getBoundingClientRect();
      const part = ((event.clientX - box.left) / box.width - left) / (right - left);
      const index = Math.floor(part * labels.length);
      if (labels[index] !== undefined) readout.textContent = labels[index];
    });
  }
})();
