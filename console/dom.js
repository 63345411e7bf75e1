// Builds the page's elements. All text goes in as text nodes: nothing here or elsewhere parses HTML.

const SVG = "http://www.w3.org/2000/svg";
const LINKS = new Set(["http:", "https:", "blob:", "magnet:"]);

/**
 * An element. `given` are attributes; `onclick` and the like are listeners; `true` and `false` set or leave out an attribute.
 * Children are elements, texts, lists of them, or nothing.
 */
export function h(tag, given = {}, ...children) {
  return filled(document.createElement(tag), given, children);
}

/** The same for SVG. */
export function svg(tag, given = {}, ...children) {
  return filled(document.createElementNS(SVG, tag), given, children);
}

function filled(element, given, children) {
  for (const [name, value] of Object.entries(given)) {
    if (name.startsWith("on")) {
      element.addEventListener(name.slice(2), value);
    } else if (value !== undefined && value !== null && value !== false) {
      element.setAttribute(name, (name === "href" || name === "src") ? address(value) : value === true ? "" : String(value));
    }
  }
  element.append(...nodes(children));
  return element;
}

function nodes(children) {
  return children.flat(Infinity).filter((each) => each !== undefined && each !== null && each !== false && each !== "");
}

/** Replaces what an element holds. */
export function fill(element, ...children) {
  element.replaceChildren(...nodes(children));
  return element;
}

/** An address that can only lead somewhere, never run something. */
export function address(text) {
  try {
    return LINKS.has(new URL(text, location.href).protocol) ? text : "#";
  } catch {
    return "#";
  }
}

const ICONS = {
  jobs: "M4 6h16M4 12h16M4 18h10",
  search: "M10.500 17a6.500 6.500 0 1 0 0-13 6.500 6.500 0 0 0 0 13zM20 20l-4.800-4.800",
  upload: "M12 16V5m0 0L7.500 9.500M12 5l4.500 4.500M5 19h14",
  lanes: "M6 4v16M12 4v4m0 4v2m0 4v2M18 4v16",
  out: "M14 5H6v14h8M11 12h9m0 0-3.500-3.500M20 12l-3.500 3.500",
  back: "M15 5l-7 7 7 7",
  copy: "M9 9h10v11H9zM5 15V4h10",
  download: "M12 4v11m0 0 4.500-4.500M12 15l-4.500-4.500M5 20h14",
  "video-analysis": "M4 6h11v12H4zM15 10.500l5-3v9l-5-3",
  "image-processing": "M4 5h16v14H4zM4 16l5-5 4 4 2.500-2.500L20 17M15.500 9.500h.01",
  "stream-recording": "M12 15.500a3.500 3.500 0 1 0 0-7 3.500 3.500 0 0 0 0 7zM6 6a8.500 8.500 0 0 0 0 12M18 6a8.500 8.500 0 0 1 0 12",
  torrent: "M5 4v8a7 7 0 0 0 14 0V4h-4.500v8a2.500 2.500 0 0 1-5 0V4zM5 8.500h4.500M14.500 8.500H19",
  "torrent-seeding": "M5 4v8a7 7 0 0 0 14 0V4h-4.500v8a2.500 2.500 0 0 1-5 0V4zM5 8.500h4.500M14.500 8.500H19",
  steam_import: "M6 8h12a4 4 0 0 1 4 4.500l-.5 3a2.500 2.500 0 0 1-4.500 1L15.500 15h-7L7 16.500a2.500 2.500 0 0 1-4.500-1l-.5-3A4 4 0 0 1 6 8zM8 10.500v3M6.500 12h3M16 11h.01M17.500 13h.01",
  other: "M5 4h9l5 5v11H5zM14 4v5h5",
};

/** A line drawing that says nothing to screen readers: a text beside it does. */
export function icon(name) {
  const path = svg("path", { d: ICONS[name] ?? ICONS.other });
  return svg("svg", { viewBox: "0 0 24 24", class: "icon", "aria-hidden": "true" }, path);
}
