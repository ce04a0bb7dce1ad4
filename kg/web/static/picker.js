/* Text fields that take a name offer what is called so, in any script, while one writes: a combobox as ARIA describes it
   (WAI-ARIA Authoring Practices, combobox with listbox popup). Without it the field takes a name or a slug all the same. */
"use strict";

(() => {
  const PAUSE = 150;

  for (const input of document.querySelectorAll("input[data-picker]")) enhance(input);

  function enhance(input) {
    const kinds = input.dataset.picker.split(" ");
    const box = document.createElement("span");
    box.className = "picker";
    input.replaceWith(box);
    const list = document.createElement("ul");
    list.id = `${input.id}-names`;
    list.hidden = true;
    list.setAttribute("role", "listbox");
    list.setAttribute("aria-label", "Names");
    const told = document.createElement("span");
    told.className = "visually-hidden";
    told.setAttribute("role", "status");
    box.append(input, list, told);
    for (const [name, value] of Object.entries({
      role: "combobox", "aria-autocomplete": "list", "aria-expanded": "false", "aria-controls": list.id, autocomplete: "off",
    })) input.setAttribute(name, value);

    let waiting, asked = 0, chosen = -1;

    const close = () => {
      list.hidden = true;
      chosen = -1;
      input.setAttribute("aria-expanded", "false");
      input.removeAttribute("aria-activedescendant");
    };

    const mark = (place) => {
      chosen = place;
      [...list.children].forEach((option, at) => option.setAttribute("aria-selected", String(at === place)));
      if (place < 0) return input.removeAttribute("aria-activedescendant");
      input.setAttribute("aria-activedescendant", list.children[place].id);
      list.children[place].scrollIntoView({ block: "nearest" });
    };

    const take = (option) => {
      input.value = option.dataset.value;
      close();
      told.textContent = `${option.dataset.label} taken`;
    };

    const offer = (hits) => {
      list.replaceChildren(...hits.map((hit, at) => {
        const option = document.createElement("li");
        option.id = `${list.id}-${at}`;
        option.setAttribute("role", "option");
        option.setAttribute("aria-selected", "false");
        option.dataset.value = hit.value;
        option.dataset.label = hit.label;
        const name = document.createElement("span");
        name.dir = "auto";
        if (hit.language) name.lang = hit.language;
        name.textContent = hit.label;
        const slug = document.createElement("span");
        slug.className = "quiet";
        slug.textContent = ` ${hit.value}`;
        option.append(name, slug);
        /* Before the field loses the focus, which would close the list. */
        option.addEventListener("pointerdown", (event) => { event.preventDefault(); take(option); });
        return option;
      }));
      list.hidden = !hits.length;
      input.setAttribute("aria-expanded", String(hits.length > 0));
      mark(-1);
      told.textContent = hits.length ? `${hits.length} ${hits.length === 1 ? "name" : "names"}; the arrow keys choose` : "";
    };

    const ask = async () => {
      const text = input.value.trim();
      const turn = ++asked;
      if (!text) return close();
      const address = new URL(input.dataset.search, location.href);
      address.searchParams.set("q", text);
      if (kinds.length === 1) address.searchParams.set("kind", kinds[0]); /* it takes one; else all come and some are kept */
      try {
        const answer = await fetch(address, { headers: { Accept: "application/json" } });
        if (turn !== asked) return; /* somebody wrote on meanwhile */
        if (!answer.ok) return close();
        const { groups } = await answer.json();
        const hits = groups.flatMap((group) => group.hits.map((hit) => ({ kind: group.kind, ...hit })));
        const fitting = hits.filter((hit) => kinds.includes(hit.kind));
        offer(fitting.slice(0, 12).map((hit) => ({ label: hit.label, language: hit.language, value: slugOf(hit) })));
      } catch {
        close();
      }
    };

    /* `actor/russia`, which the form takes whatever things are called later. */
    const slugOf = (hit) => new URL(hit.iri).pathname.split("/").slice(-2).join("/");

    input.addEventListener("input", () => { clearTimeout(waiting); waiting = setTimeout(ask, PAUSE); });
    input.addEventListener("blur", close);
    input.addEventListener("keydown", (event) => {
      const count = list.hidden ? 0 : list.children.length;
      if (event.key === "ArrowDown" && !count) ask();
      else if (event.key === "ArrowDown" && count) mark((chosen + 1) % count);
      else if (event.key === "ArrowUp" && count) mark((chosen - 1 + count) % count);
      else if (event.key === "Enter" && count && chosen >= 0) take(list.children[chosen]);
      else if (event.key === "Escape" && count) close();
      else return;
      event.preventDefault();
    });
  }
})();
