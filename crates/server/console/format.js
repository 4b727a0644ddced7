// Figures and keys as people read them.

const SIZES = ['B', 'KiB', 'MiB', 'GiB', 'TiB', 'PiB'];

/** A few digits, and no more than matter. */
export function digits(value) {
  if (!Number.isFinite(value)) return '–';
  const size = Math.abs(value);
  if (size >= 100 || Number.isInteger(value)) return Math.round(value).toLocaleString('en');
  return value.toFixed(size >= 10 ? 1 : 2);
}

export function bytes(value) {
  if (!Number.isFinite(value)) return '–';
  let [size, unit] = [value, 0];
  while (size >= 1024 && unit < SIZES.length - 1) {
    size /= 1024;
    unit += 1;
  }
  return `${unit === 0 ? Math.round(size) : digits(size)} ${SIZES[unit]}`;
}

/** A large number, short. */
export function count(value) {
  if (!Number.isFinite(value)) return '–';
  if (value >= 1e6) return `${digits(value / 1e6)} M`;
  if (value >= 1e4) return `${digits(value / 1e3)} k`;
  return digits(value);
}

/** A span of seconds. */
export function seconds(value) {
  if (!Number.isFinite(value)) return '–';
  if (value < 1e-3) return `${digits(value * 1e6)} µs`;
  if (value < 1) return `${digits(value * 1e3)} ms`;
  if (value < 120) return `${digits(value)} s`;
  if (value < 7200) return `${Math.round(value / 60)} min`;
  if (value < 172800) return `${Math.round(value / 3600)} h`;
  return `${Math.round(value / 86400)} days`;
}

export const ms = value => seconds(value / 1000);
export const plural = (number, one, many = `${one}s`) => `${count(number)} ${number === 1 ? one : many}`;

/** A key that is given in hexadecimal: as text where it is one, and not too long. */
export function key(hex, whatIfEmpty) {
  if (!hex) return whatIfEmpty;
  const codes = (hex.match(/../g) ?? []).map(pair => parseInt(pair, 16));
  const isText = codes.every(code => code >= 0x20 && code < 0x7f);
  const text = isText ? String.fromCharCode(...codes) : `0x${hex.toLowerCase()}`;
  return text.length > 34 ? `${text.slice(0, 31)}…` : text;
}

/** A text as Regions' keys are written. */
export function hexOf(text) {
  const codes = [...new TextEncoder().encode(text)];
  return codes.map(code => code.toString(16).padStart(2, '0').toUpperCase()).join('');
}

/** The colour of a store, the same on all pages. */
export const colour = store => `var(--s${((Number(store) - 1) % 8 + 8) % 8 + 1})`;
