// The page /validate works without this. With it a file can be dropped on the text, is seen before it is sent, and the number of a
// line leads to that line.
"use strict";
(() => {
  const text = document.getElementById("text");
  const file = document.getElementById("file");
  const syntax = document.getElementById("syntax");
  const outcome = document.getElementById("outcome");

  async function take(chosen) {
    if (!chosen) return;
    const limit = 64 * 2 ** 20;
    if (chosen.size > limit) return; // the service says that it is too large; a browser need not show it
    const bytes = new Uint8Array(await chosen.arrayBuffer());
    let content;
    try {
      content = new TextDecoder("utf-8", { fatal: true }).decode(bytes);
    } catch {
      return; // not UTF-8: sent as it is, the service says where
    }
    text.value = content;
    text.rows = Math.min(28, Math.max(12, content.split("\n").length + 1));
    const suffix = chosen.name.split(".").pop().toLowerCase();
    const name = { json: "jsonld", xml: "rdf" }[suffix] || suffix;
    if (chosen.name.includes(".") && [...syntax.options].some((option) => option.value === name)) syntax.value = name;
    file.value = "";
    text.focus();
    text.setSelectionRange(0, 0);
  }

  file.addEventListener("change", () => take(file.files[0]));
  for (const kind of ["dragenter", "dragover"])
    text.addEventListener(kind, (event) => {
      if (![...event.dataTransfer.types].includes("Files")) return;
      event.preventDefault();
      text.classList.add("over");
    });
  for (const kind of ["dragleave", "drop"]) text.addEventListener(kind, () => text.classList.remove("over"));
  text.addEventListener("drop", (event) => {
    if (!event.dataTransfer.files.length) return;
    event.preventDefault();
    take(event.dataTransfer.files[0]);
  });

  outcome.addEventListener("click", (event) => {
    const link = event.target.closest("a.goto");
    if (!link) return;
    event.preventDefault();
    const number = Number(link.dataset.line);
    const lines = text.value.split("\n");
    const start = lines.slice(0, number - 1).reduce((sum, line) => sum + line.length + 1, 0);
    text.focus();
    text.setSelectionRange(start, start + (lines[number - 1] || "").length);
    const height = text.scrollHeight / lines.length;
    text.scrollTop = Math.max(0, (number - 4) * height);
    text.scrollIntoView({ block: "center" });
  });
})();
