/* The SPARQL page with an editor (Yasqe, of Yasgui) in the place of the plain field, and answers without leaving it.

   The answer comes from the same address as the page and is drawn by the service, so that it reads the same with and without this
   script; here it can be sorted, filtered, charted, and seen as it was sent. Nothing is asked of any other host. */
"use strict";

(() => {
  const given = JSON.parse(document.getElementById("editor-data").textContent);
  const form = document.querySelector("form.editor");
  const field = document.getElementById("query");
  const state = form.querySelector(".state");
  const stop = form.querySelector(".stop");
  const collator = new Intl.Collator(undefined, { numeric: true, sensitivity: "base" });
  const LONGEST_ADDRESS = 6000;
  let editor = null, running = null, marks = [];

  const element = (name, attributes = {}, ...children) => {
    const made = document.createElement(name);
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
    made.append(...children);
    return made;
  };

  /* Writing */

  function shorten(iri) {
    for (const [prefix, namespace] of Object.entries(given.prefixes)) {
      const rest = iri.slice(namespace.length);
      if (iri.startsWith(namespace) && /^\w[\w-]*$/.test(rest)) return `${prefix}:${rest}`;
    }
    return `<${iri}>`;
  }

  /* Classes and properties that occur in the data, the most frequent first (VoID, class and property partitions). */
  let known = null;
  const terms = () => known ??= fetch(given.void, { headers: { Accept: "application/n-triples" } })
    .then((answer) => answer.text())
    .then((text) => {
      const of = { class: new Map(), property: new Map() }, counts = new Map(), names = [];
      for (const line of text.split("\n")) {
        const match = /^(\S+) <http:\/\/rdfs\.org\/ns\/void#(class|property|entities|triples)> (?:<([^>]*)>|"(\d+)")/.exec(line);
        if (!match) continue;
        const [, subject, what, iri, count] = match;
        if (iri) names.push([subject, what, iri]);
        else counts.set(subject, Math.max(Number(count), counts.get(subject) ?? 0));
      }
      for (const [subject, what, iri] of names) of[what].set(iri, Math.max(counts.get(subject) ?? 0, of[what].get(iri) ?? 0));
      const sorted = (map) => [...map].sort((one, other) => other[1] - one[1]).map(([iri]) => shorten(iri));
      return { class: sorted(of.class), property: sorted(of.property) };
    })
    .catch(() => { known = null; return { class: [], property: [] }; });

  function completer(name, Yasqe) {
    return {
      ...Yasqe.Autocompleters[name],
      name,
      bulk: false,
      autoShow: true,
      get: async (yasqe, token) => {
        const written = (token?.autocompletionString ?? "").toLowerCase();
        const all = (await terms())[name];
        const local = written.replace(/^\w*:/, "");
        const begins = all.filter((term) => term.toLowerCase().startsWith(written));
        const holds = written.includes(":") ? [] : all.filter((term) => !begins.includes(term) && term.toLowerCase().includes(local));
        return [...begins, ...holds].slice(0, 40);
      },
      preProcessToken: (yasqe, token) => ({ ...token, autocompletionString: token.string.trim() }),
      postProcessSuggestion: (yasqe, token, suggestion) => suggestion,
    };
  }

  function begin() {
    const Yasqe = window.Yasgui?.Yasqe;
    if (!Yasqe) return;
    for (const name of ["class", "property"]) Yasqe.registerAutocompleter(completer(name, Yasqe), false);
    Yasqe.registerAutocompleter({
      ...Yasqe.Autocompleters.prefixes,
      persistenceId: null,
      get: () => Object.entries(given.prefixes).map(([prefix, namespace]) => `${prefix}: <${namespace}>`),
    }, false);
    /* Prefixes that the service supplies are no errors. */
    Yasqe.defineMode("sparql-supplied", (config) => {
      const mode = Yasqe.getMode(config, "sparql11");
      return { ...mode, startState: () => ({ ...mode.startState(), prefixes: { ...given.prefixes } }) };
    });
    const height = field.offsetHeight;
    const holder = element("div", { class: "yasqe-holder" });
    field.before(holder);
    editor = new Yasqe(holder, {
      value: field.value,
      persistenceId: null,
      consumeShareLink: null,
      createShareableLink: null,
      mode: "sparql-supplied",
      showQueryButton: false,
      resizeable: true,
      editorHeight: `${height}px`,
      autocompleters: ["variables", "prefixes", "class", "property"],
      /* Nobody gets caught in the field: Tab leaves it (WCAG 2.2, 2.1.2). */
      extraKeys: { Tab: false, "Shift-Tab": false, "Ctrl-Enter": () => ask(), "Cmd-Enter": () => ask(), "Ctrl-S": () => {} },
      viewportMargin: Infinity,
    });
    const input = editor.getInputField();
    input.setAttribute("aria-label", "Query");
    document.querySelector("label[for=query]").addEventListener("click", () => editor.focus());
    field.hidden = true;
    field.name = "";
    editor.on("change", unmark);
    mark(document.getElementById("error"));
  }

  const written = () => (editor ? editor.getValue() : field.value);

  function write(text) {
    if (editor) editor.setValue(text); else field.value = text;
  }

  /* The place of a syntax error, in the line that has it. */
  function mark(box) {
    const line = Number(box?.dataset.line) - 1, column = Number(box?.dataset.column) - 1;
    if (!editor || Number.isNaN(line) || line >= editor.lineCount()) return;
    const text = editor.getLine(line);
    const length = /^\S+|^\s+|^$/.exec(text.slice(column))?.[0].length || 1;
    const from = column < text.length ? column : Math.max(text.length - 1, 0);
    editor.addLineClass(line, "background", "wrong-line");
    marks = [() => editor.removeLineClass(line, "background", "wrong-line")];
    const place = editor.getDoc().markText({ line, ch: from }, { line, ch: from + length }, { className: "wrong" });
    marks.push(() => place.clear());
    editor.scrollIntoView({ line, ch: from }, 60);
    editor.getDoc().setCursor({ line, ch: column });
  }

  function unmark() {
    marks.forEach((clear) => clear());
    marks = [];
  }

  /* Asking */

  async function ask() {
    running?.abort();
    const mine = running = new AbortController();
    const query = written();
    const address = `${given.endpoint}?${new URLSearchParams({ query })}`;
    const isShort = address.length <= LONGEST_ADDRESS;
    unmark();
    state.textContent = "Asking …";
    stop.hidden = false;
    try {
      const headers = { Accept: "text/html" };
      const answer = isShort
        ? await fetch(address, { headers, signal: mine.signal })
        : await fetch(given.endpoint, { method: "POST", headers, body: new URLSearchParams({ query }), signal: mine.signal });
      const page = new DOMParser().parseFromString(await answer.text(), "text/html");
      if (mine !== running) return;
      show(page, answer.status);
      /* Addresses of longer queries are refused on their way, by some: those are shared as text. */
      history.replaceState(null, "", isShort ? address : given.endpoint);
      state.textContent = answer.ok ? "" : "There is an error.";
    } catch (error) {
      if (mine !== running) return;
      state.textContent = error.name === "AbortError" ? "Stopped." : "The service cannot be reached; try again.";
    } finally {
      if (mine === running) {
        stop.hidden = true;
        running = null;
      }
    }
  }

  function show(page, status) {
    document.getElementById("answer")?.remove();
    document.getElementById("error")?.remove();
    let found = page.getElementById("answer") ?? page.getElementById("error");
    if (!found) {
      found = element("div", { class: "error", id: "error", role: "alert" });
      const heading = page.querySelector("main h1");
      found.append(element("h2", {}, heading?.textContent ?? `Error ${status}`));
      heading?.remove();
      found.append(...page.querySelectorAll("main > *"));
    }
    form.after(document.adoptNode(found));
    if (found.id === "error") mark(found); else enhance(found);
  }

  /* Answers */

  function enhance(section) {
    const table = section.querySelector("table.solutions");
    if (!table) return;
    const rows = [...table.tBodies[0].rows];
    const names = [...table.tHead.rows[0].cells].map((cell) => cell.textContent);
    sortable(table, rows, names);
    const scroll = table.closest(".scroll");
    const raw = element("pre", { class: "data", tabindex: "0", role: "region", "aria-label": "The answer as it was sent" });
    const chart = given.charts.length && rows.length > 1 ? element("div", { class: "charting" }) : null;
    const views = { Table: scroll, ...(chart ? { Chart: chart } : {}), Raw: raw };
    const bar = element("div", { class: "views", role: "group", "aria-label": "How the answer is shown" });
    for (const [name, view] of Object.entries(views)) {
      const button = element("button", { type: "button", "aria-pressed": String(name === "Table") }, name);
      button.addEventListener("click", () => {
        for (const other of bar.querySelectorAll("button")) other.setAttribute("aria-pressed", String(other === button));
        for (const other of Object.values(views)) other.hidden = other !== view;
        if (filter) filter.hidden = view !== scroll;
        if (view === raw && !raw.firstChild) fillRaw(raw, section);
        if (view === chart && !chart.firstChild) charting(chart, rows, names);
      });
      bar.append(button);
    }
    let filter = null;
    if (rows.length > 10) {
      filter = element("input", { type: "search", placeholder: "Filter these rows", "aria-label": "Filter these rows" });
      filter.addEventListener("input", () => {
        const wanted = filter.value.toLocaleLowerCase();
        for (const row of rows) row.hidden = !row.textContent.toLocaleLowerCase().includes(wanted);
      });
      bar.append(filter);
    }
    scroll.before(bar);
    raw.hidden = true;
    scroll.after(raw);
    if (chart) { chart.hidden = true; scroll.after(chart); }
  }

  function sortable(table, rows, names) {
    const heads = [...table.tHead.rows[0].cells];
    heads.forEach((head, place) => {
      const button = element("button", { type: "button", class: "sort" }, names[place]);
      head.replaceChildren(button);
      button.addEventListener("click", () => {
        const down = head.getAttribute("aria-sort") === "ascending";
        for (const other of heads) other.removeAttribute("aria-sort");
        head.setAttribute("aria-sort", down ? "descending" : "ascending");
        const sorted = [...rows].sort((one, other) => collator.compare(one.cells[place].textContent, other.cells[place].textContent));
        table.tBodies[0].append(...(down ? sorted.reverse() : sorted));
      });
    });
  }

  async function fillRaw(raw, section) {
    raw.textContent = "…";
    const link = [...section.querySelectorAll("a")].find((a) => a.textContent === "JSON");
    try {
      const text = await (await fetch(link.href)).text();
      const shown = text.length < 200_000 ? JSON.stringify(JSON.parse(text), null, 2) : `${text.slice(0, 200_000)}\n… (the file below holds all)`;
      raw.textContent = shown;
    } catch {
      raw.textContent = "The answer cannot be fetched again.";
    }
  }

  const isNumber = (text) => /^-?\d+(\.\d+)?$/.test(text);
  const isDate = (text) => /^\d{4}-\d\d-\d\d/.test(text);

  function charting(place, rows, names) {
    const values = rows.map((row) => Object.fromEntries(names.map((name, at) => {
      const text = row.cells[at].textContent;
      return [name, isNumber(text) ? Number(text) : text];
    })));
    const is = (name, kind) => values.some((row) => row[name] !== "") && values.every((row) => row[name] === "" || kind(String(row[name])));
    const type = (name) => (is(name, isNumber) ? "quantitative" : is(name, isDate) ? "temporal" : "nominal");
    const COUNT = "number of rows";
    const choose = (label, options, chosen) => {
      const select = element("select");
      for (const option of options) select.append(element("option", option === chosen ? { selected: "" } : {}, option));
      select.addEventListener("change", draw);
      controls.append(element("label", {}, label, " ", select));
      return select;
    };
    const controls = element("div", { class: "choices" });
    const drawing = element("div", { class: "drawing" });
    place.append(controls, drawing);
    const numeric = names.filter((name) => type(name) === "quantitative");
    const mark = choose("Mark", ["bar", "point", "line"], "bar");
    const along = choose("Along", names, names.find((name) => type(name) !== "quantitative") ?? names[0]);
    const value = choose("Value", [COUNT, ...names], numeric[0] ?? COUNT);
    const colour = choose("Colour", ["none", ...names], "none");

    async function draw() {
      await scripts();
      const counts = value.value === COUNT;
      const valueType = counts ? "quantitative" : type(value.value);
      const y = { field: escaped(along.value), type: type(along.value) === "quantitative" ? "ordinal" : type(along.value), title: along.value };
      const x = counts ? { aggregate: "count", title: COUNT, axis: { tickMinStep: 1, format: "d" } } : { field: escaped(value.value), type: valueType, title: value.value };
      const flipped = y.type === "temporal" || mark.value === "line";
      const spec = {
        data: { values },
        ...(flipped ? { height: 280 } : {}),
        mark: mark.value === "point" ? { type: "point", filled: true, size: 90 } : mark.value,
        encoding: {
          ...(flipped ? { x: y, y: x } : { x, y: { ...y, sort: counts ? "-x" : null } }),
          ...(colour.value === "none" ? {} : { color: { field: escaped(colour.value), type: type(colour.value), title: colour.value } }),
          tooltip: counts ? [{ field: escaped(along.value), type: y.type, title: along.value }, { aggregate: "count", title: COUNT }] : names.map((name) => ({ field: escaped(name), type: type(name), title: name })),
        },
      };
      await window.drawChart(drawing, spec, `${value.value} along ${along.value}`);
    }
    draw();
  }

  const escaped = (name) => name.replace(/[.[\]\\]/g, "\\$&");

  let loaded = null;
  const scripts = () => loaded ??= given.charts.reduce((before, address) => before.then(() => new Promise((done, failed) => {
    const script = element("script", { src: address });
    script.addEventListener("load", done);
    script.addEventListener("error", failed);
    document.head.append(script);
  })), Promise.resolve());

  /* Examples */

  const example = document.getElementById("example");
  let texts = null;
  example.addEventListener("change", async () => {
    const id = example.value;
    if (!id) return;
    texts ??= fetch(given.examples, { headers: { Accept: "application/ld+json" } }).then((answer) => answer.json());
    const found = (await texts)["@graph"].find((it) => (it["sh:select"] ?? it["sh:ask"]) && it.id.split(/[/#]/).at(-1) === id);
    if (!found) return;
    write(found["sh:select"] ?? found["sh:ask"]);
    editor?.focus();
  });

  form.addEventListener("submit", (event) => { event.preventDefault(); ask(); });
  stop.addEventListener("click", () => running?.abort());
  begin();
  const answer = document.getElementById("answer");
  if (answer) enhance(answer);
})();
