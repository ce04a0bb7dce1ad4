// The day by which something must have been published, as a slider over the days on which something was. Without this
// script the same is a form and a list of links; all that is done here is to follow them without leaving the page.
"use strict";
(() => {
  const form = document.getElementById("by-day");
  const links = [...document.querySelectorAll(".steps a[data-day]")];
  const slide = form && form.querySelector(".slide");
  if (!slide || links.length < 2 || !window.DOMParser || !window.fetch) return;

  const range = document.createElement("input");
  const shown = document.createElement("output");
  range.type = "range";
  range.min = 0;
  range.max = links.length - 1;
  range.step = 1;
  range.id = "day-range";
  range.setAttribute("aria-label", "Only what was published by");
  shown.htmlFor = "day-range";
  slide.append(range, shown);

  const days = links.map((link) => link.dataset.day);
  const pages = new Map();
  let wanted = 0;

  // The last day of the list that is not after the one asked for; the very last stands for all there is.
  const placeOf = (day) => (day ? days.findLastIndex((other) => other && other <= day) : days.length - 1);
  const written = new Intl.DateTimeFormat("en-GB", { day: "numeric", month: "long", year: "numeric", timeZone: "UTC" });

  const tell = (day) => {
    const words = day ? `published by ${written.format(new Date(day))}` : "all there is";
    range.value = Math.max(0, placeOf(day));
    range.setAttribute("aria-valuetext", words);
    shown.textContent = words;
  };

  const fetched = (href) => {
    if (!pages.has(href)) {
      pages.set(
        href,
        fetch(href, { headers: { Accept: "text/html" } }).then((answer) => {
          if (!answer.ok) throw new Error(answer.statusText);
          return answer.text();
        }),
      );
    }
    return pages.get(href);
  };

  const show = async (href, keep) => {
    const mine = ++wanted;
    let page;
    try {
      page = new DOMParser().parseFromString(await fetched(href), "text/html");
    } catch {
      pages.delete(href);
      if (mine === wanted) window.location.assign(href);
      return;
    }
    if (mine !== wanted) return;
    const fresh = page.getElementById("as-of");
    if (!fresh) return window.location.assign(href);
    const open = document.getElementById("acts")?.open;
    document.getElementById("as-of").replaceWith(fresh);
    if (open && document.getElementById("acts")) document.getElementById("acts").open = true;
    const day = new URL(href, window.location).searchParams.get("asof") || "";
    document.getElementById("asof").value = day;
    links.forEach((link) => {
      if (link.dataset.day === day) link.setAttribute("aria-current", "date");
      else link.removeAttribute("aria-current");
    });
    if (keep) window.history.pushState(null, "", href);
  };

  let timer;
  range.addEventListener("input", () => {
    const link = links[Number(range.value)];
    tell(link.dataset.day);
    clearTimeout(timer);
    timer = setTimeout(() => show(link.href, true), 150);
  });
  links.forEach((link) =>
    link.addEventListener("click", (event) => {
      if (event.metaKey || event.ctrlKey || event.shiftKey || event.button) return;
      event.preventDefault();
      tell(link.dataset.day);
      show(link.href, true);
    }),
  );
  window.addEventListener("popstate", () => {
    tell(new URLSearchParams(window.location.search).get("asof") || "");
    show(window.location.href, false);
  });
  tell(document.getElementById("asof").value);
})();
