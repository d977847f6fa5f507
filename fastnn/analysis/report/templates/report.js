// What needs a hand on the page: everything is readable without this.
"use strict";

// Light and dark: the system's choice until the button is pressed.
{
  const button = document.getElementById("theme");
  const system = matchMedia("(prefers-color-scheme: dark)");
  const isDark = () => (document.documentElement.dataset.theme || (system.matches ? "dark" : "light")) === "dark";
  const label = () => { button.textContent = isDark() ? "Light" : "Dark"; };
  button.hidden = false;
  const stored = (action) => { try { return action(localStorage); } catch { return null; } };
  const chosen = stored((store) => store.getItem("fastnn-theme"));
  if (chosen === "light" || chosen === "dark") document.documentElement.dataset.theme = chosen;
  button.addEventListener("click", () => {
    const theme = isDark() ? "light" : "dark";
    document.documentElement.dataset.theme = theme;
    stored((store) => store.setItem("fastnn-theme", theme));
    label();
  });
  system.addEventListener("change", label);
  label();
}

// From the pointer to the drawing's own coordinates.
function placeIn(svg, event) {
  return new DOMPoint(event.clientX, event.clientY).matrixTransform(svg.getScreenCTM().inverse());
}

// Curves: a line follows the pointer or the arrow keys, and the figures of that epoch stand below.
for (const plot of document.querySelectorAll(".epochs .plot")) {
  const svg = plot.querySelector("svg"), cursor = plot.querySelector(".cursor");
  const dots = plot.querySelectorAll(".dot"), output = plot.querySelector("output");
  const { epochs, lines } = JSON.parse(plot.querySelector("script").textContent);
  let shown = null;
  const show = (place) => {
    shown = Math.max(0, Math.min(epochs.length - 1, place));
    const [epoch, x] = epochs[shown];
    cursor.setAttribute("x1", x);
    cursor.setAttribute("x2", x);
    cursor.style.visibility = "visible";
    lines.forEach((line, n) => {
      const mark = line.marks[shown];
      dots[n].style.visibility = mark ? "visible" : "hidden";
      if (mark) { dots[n].setAttribute("cx", mark[0]); dots[n].setAttribute("cy", mark[1]); }
    });
    output.textContent = `epoch ${epoch}: ` + lines.map((line) => `${line.name} ${line.texts[shown]}`).join(", ");
  };
  const hide = () => {
    shown = null;
    output.textContent = "";
    cursor.style.visibility = "hidden";
    dots.forEach((dot) => { dot.style.visibility = "hidden"; });
  };
  svg.addEventListener("pointermove", (event) => {
    const x = placeIn(svg, event).x;
    const gaps = epochs.map(([, at]) => Math.abs(at - x));
    show(gaps.indexOf(Math.min(...gaps)));
  });
  svg.addEventListener("pointerleave", hide);
  plot.addEventListener("blur", hide);
  plot.addEventListener("keydown", (event) => {
    const last = epochs.length - 1;
    const next = { ArrowRight: shown === null ? 0 : shown + 1, ArrowLeft: shown === null ? last : shown - 1, Home: 0, End: last }[event.key];
    if (next === undefined) return;
    event.preventDefault();
    show(next);
  });
}

// Tables: a click on a heading sorts by it, a second one the other way round.
for (const table of document.querySelectorAll("table.sortable")) {
  const heads = [...table.tHead.rows[0].cells], body = table.tBodies[0];
  heads.forEach((head, column) => head.querySelector("button").addEventListener("click", () => {
    const named = column === 0, sorted = head.getAttribute("aria-sort");
    const rising = sorted ? sorted === "descending" : named;  // names from A, figures from the top
    heads.forEach((other) => other.removeAttribute("aria-sort"));
    head.setAttribute("aria-sort", rising ? "ascending" : "descending");
    const key = (row) => {
      const text = row.cells[column].textContent, number = parseFloat(text.replace(/,/g, ""));
      return named ? text : Number.isNaN(number) ? -1 : number;
    };
    const order = new Intl.Collator(undefined, { numeric: true }).compare;
    const rows = [...body.rows].sort((a, b) => {
      const [x, y] = [key(a), key(b)];
      return (named ? order(x, y) : x - y) * (rising ? 1 : -1);
    });
    body.append(...rows);
  }));
}

// The map: the nearest example shows its picture; arrow keys step through them; a class alone.
{
  const map = document.querySelector(".map");
  if (map) {
    const { names, points, sheet } = JSON.parse(document.getElementById("points").textContent);
    const tip = map.querySelector(".tip"), picture = tip.querySelector(".picture");
    const words = tip.querySelector(".words"), spoken = map.querySelector("output");
    const scale = sheet ? Math.max(1, Math.round(64 / Math.max(sheet.width, sheet.height))) : 1;
    if (sheet) {
      picture.style.width = `${sheet.width * scale}px`;
      picture.style.height = `${sheet.height * scale}px`;
      picture.style.backgroundSize = `${sheet.columns * sheet.width * scale}px auto`;
    } else {
      picture.remove();
    }
    const drawn = () => [...map.querySelectorAll(".way")].find((svg) => svg.getClientRects().length);
    let shown = null, only = null;
    const hide = () => {
      map.querySelectorAll(".chosen").forEach((mark) => mark.classList.remove("chosen"));
      tip.style.display = "none";
    };
    const show = (n) => {
      hide();
      shown = n;
      const [code, said, row] = points[n];
      const svg = drawn(), mark = svg.querySelectorAll("use")[n];
      mark.classList.add("chosen");
      if (sheet) {
        const left = (n % sheet.columns) * sheet.width * scale, top = Math.floor(n / sheet.columns) * sheet.height * scale;
        picture.style.backgroundPosition = `-${left}px -${top}px`;
      }
      const part = (tag, text) => Object.assign(document.createElement(tag), { textContent: text });
      const verdict = code === said ? ["said so ✓"] : ["said ", part("bdi", names[said]), " ✗"];
      const name = part("strong", "");
      name.append(part("bdi", names[code]));
      words.replaceChildren(name, part("br", ""), ...verdict, part("br", ""), `#${row}`);
      spoken.textContent = `${names[code]}, said ${names[said]}, number ${row}`;
      tip.style.display = "flex";
      const box = map.getBoundingClientRect(), at = mark.getBoundingClientRect();
      const x = at.left - box.left, y = at.top - box.top;
      tip.style.left = `${Math.max(0, x > box.width / 2 ? x - tip.offsetWidth - 12 : x + 20)}px`;
      tip.style.top = `${Math.max(0, Math.min(box.height - tip.offsetHeight, y - tip.offsetHeight / 2))}px`;
    };
    map.addEventListener("pointermove", (event) => {
      const svg = drawn(), { x, y } = placeIn(svg, event);
      let nearest = -1, least = 18 ** 2;
      svg.querySelectorAll("use").forEach((mark, n) => {
        if (only !== null && points[n][0] !== only) return;
        const gap = (mark.x.baseVal.value - x) ** 2 + (mark.y.baseVal.value - y) ** 2;
        if (gap < least) { least = gap; nearest = n; }
      });
      if (nearest < 0) hide(); else show(nearest);
    });
    map.addEventListener("pointerleave", hide);
    map.addEventListener("blur", hide);
    map.addEventListener("keydown", (event) => {
      const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
      if (event.key === "Escape") hide();
      if (step === undefined) return;
      event.preventDefault();
      let n = shown === null ? (step > 0 ? -1 : points.length) : shown;
      for (let tries = 0; tries < points.length; tries += 1) {
        n = (n + step + points.length) % points.length;
        if (only === null || points[n][0] === only) break;
      }
      if (only === null || points[n][0] === only) show(n);
    });
    document.querySelectorAll('input[name="way"]').forEach((input) => input.addEventListener("change", hide));
    const buttons = [...document.querySelectorAll(".classes button")];
    buttons.forEach((button, code) => button.addEventListener("click", () => {
      only = only === code ? null : code;
      hide();
      buttons.forEach((other, n) => other.setAttribute("aria-pressed", String(n === only)));
      map.querySelectorAll(".way").forEach((svg) => svg.querySelectorAll("use").forEach((mark, n) => {
        mark.classList.toggle("dim", only !== null && points[n][0] !== only);
      }));
      map.querySelectorAll("text").forEach((text) => {
        text.classList.toggle("dim", only !== null && !text.classList.contains(`k${only}`));
      });
    }));
  }
}
