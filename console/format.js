// Times, sizes and names for people, in the viewer's language and zone.

const WHEN = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "medium" });
const SHORT = new Intl.DateTimeFormat(undefined, { month: "short", day: "numeric", hour: "2-digit", minute: "2-digit" });
const AGO = new Intl.RelativeTimeFormat(undefined, { numeric: "auto", style: "short" });
const NUMBER = new Intl.NumberFormat();
const STEPS = [["day", 86400], ["hour", 3600], ["minute", 60]];
const UNITS = ["bytes", "kB", "MB", "GB", "TB"];

/** A date and time with seconds; empty for what is none. */
export function when(text) {
  const found = new Date(text);
  return text && !Number.isNaN(found.valueOf()) ? WHEN.format(found) : "";
}

/** How long ago it was, or for more than two days the date. */
export function ago(text, now = Date.now()) {
  const seconds = (now - Date.parse(text)) / 1000;
  if (Number.isNaN(seconds)) return "";
  if (seconds > 172800) return SHORT.format(new Date(text));
  for (const [unit, length] of STEPS) {
    if (Math.abs(seconds) >= length) return AGO.format(-Math.round(seconds / length), unit);
  }
  return AGO.format(-Math.round(seconds), "second");
}

/** A span of time: 850 ms, 12 s, 3 min 20 s, 2 h 5 min, 3 d 4 h. */
export function span(seconds) {
  if (!Number.isFinite(seconds) || seconds < 0) return "";
  if (seconds < 0.001) return "0 s";
  if (seconds < 1) return `${Math.round(seconds * 1000)} ms`;
  if (seconds < 60) return `${seconds < 10 ? Math.round(seconds * 10) / 10 : Math.round(seconds)} s`;
  const whole = Math.round(seconds);
  if (whole < 3600) return `${Math.floor(whole / 60)} min ${whole % 60} s`;
  if (whole < 86400) return `${Math.floor(whole / 3600)} h ${Math.floor((whole % 3600) / 60)} min`;
  return `${Math.floor(whole / 86400)} d ${Math.floor((whole % 86400) / 3600)} h`;
}

/** Seconds between two times; NaN without one of them. */
export function between(from, to) {
  return (Date.parse(to) - Date.parse(from)) / 1000;
}

/** A second of a video: 0:07, 12:34, 1:02:03. */
export function clock(seconds) {
  const whole = Math.max(0, Math.floor(Number(seconds) || 0));
  const [hours, minutes, rest] = [Math.floor(whole / 3600), Math.floor((whole % 3600) / 60), whole % 60];
  const tail = String(rest).padStart(2, "0");
  return hours ? `${hours}:${String(minutes).padStart(2, "0")}:${tail}` : `${minutes}:${tail}`;
}

/** Bytes as 1.2 MB. */
export function size(bytes) {
  let [value, unit] = [Number(bytes) || 0, 0];
  while (value >= 1000 && unit < UNITS.length - 1) {
    value /= 1000;
    unit += 1;
  }
  return `${unit && value < 100 ? value.toFixed(1) : Math.round(value)} ${UNITS[unit]}`;
}

export function number(value) {
  return NUMBER.format(value);
}

/** The name of an upload's file, from its key or URL: what follows the id. */
export function fileName(url) {
  let last = String(url).split("/").pop();
  try {
    last = decodeURIComponent(last);
  } catch {
    // It is shown as it is.
  }
  return last.replace(/^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}-(?=.)/, "");
}

/** What a job is called: its upload's name, the name it was uploaded by here, or the beginning of its id. */
export function jobName(job, known = {}) {
  const sources = Object.keys(job.sources ?? {});
  if (sources.length === 1) return fileName(sources[0]);
  const { torrentKey, personaName, files } = job.result ?? {};
  const made = typeof torrentKey === "string" ? fileName(torrentKey).replace(/\.torrent$/, "") : personaName;
  const named = known[job.jobId] ?? job.metadata?.filename ?? made ?? (job.kind === "stream-recording" ? files?.[0] : undefined);
  if (typeof named === "string" && named) return named;
  return job.jobId.length > 24 ? `${job.jobId.slice(0, 20)}…` : job.jobId;
}
