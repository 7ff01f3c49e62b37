// Line charts and bars as SVG, drawn anew when something changes.

import { el, short, svg } from './dom.js';

const WIDTH = 400;
const HEIGHT = 200;
const LEFT = 52;
const RIGHT = 10;
const TOP = 8;
const BOTTOM = 22;
// Each holds a lowest and a highest point: more would not be seen.
const BUCKETS = 300;

const across = (share) => LEFT + share * (WIDTH - LEFT - RIGHT);
const down = (share) => HEIGHT - BOTTOM - share * (HEIGHT - TOP - BOTTOM);

/** Exponential moving average that starts at the first value, as TensorBoard smooths. */
export function smoothed(values, weight) {
  let [sum, n] = [0, 0];
  return values.map((value) => {
    if (value == null) return null;
    sum = sum * weight + (1 - weight) * value;
    n += 1;
    return sum / (1 - weight ** n);
  });
}

/** Round numbers that span from low to high. */
export function ticks(low, high, n) {
  const raw = (high - low) / n;
  if (!(raw > 0)) return [low];
  const unit = 10 ** Math.floor(Math.log10(raw));
  const step = [1, 2, 5, 10].find((factor) => factor * unit >= raw) * unit;
  const found = [];
  for (let i = Math.ceil(low / step); i * step <= high + step * 1e-9; i += 1) found.push(i * step);
  return found;
}

/** The lowest and the highest point of each stretch of a line, so that no peak is lost. */
export function thinned(points) {
  if (points.length <= 2 * BUCKETS) return points;
  const found = [];
  const size = points.length / BUCKETS;
  for (let bucket = 0; bucket < BUCKETS; bucket += 1) {
    const part = points.slice(Math.floor(bucket * size), Math.floor((bucket + 1) * size));
    const finite = part.filter((point) => point[1] != null);
    if (finite.length < part.length && part.length) found.push([part[0][0], null]);
    if (!finite.length) continue;
    let [low, high] = [finite[0], finite[0]];
    for (const point of finite) {
      if (point[1] < low[1]) low = point;
      if (point[1] > high[1]) high = point;
    }
    found.push(...(low[0] < high[0] ? [low, high] : low === high ? [low] : [high, low]));
  }
  return found;
}

function path(points, x, y) {
  let [text, pen] = ['', 'M'];
  for (const [step, value] of points) {
    const height = value == null ? null : y(value);
    if (height != null) text += `${pen}${x(step).toFixed(1)} ${height.toFixed(1)}`;
    pen = height == null ? 'M' : 'L';
  }
  return text;
}

/** A line of points; a single one is a dot, for it has no length. */
function curve(points, x, y, color) {
  const [only, ...others] = points.filter((point) => point[1] != null && y(point[1]) != null);
  if (only && !others.length) return svg('circle', { cx: x(only[0]), cy: y(only[1]), r: 3.5, fill: color });
  return svg('path', { d: path(points, x, y), class: 'curve', stroke: color });
}

function frame(xs, ys, x, y, names) {
  const line = (x1, y1, x2, y2, kind) => svg('line', { x1, y1, x2, y2, class: kind });
  const word = (at, height, text, anchor) => svg('text', { x: at, y: height, 'text-anchor': anchor }, text);
  const low = down(0);
  return [
    ys.map((tick) => [line(LEFT, y(tick), WIDTH - RIGHT, y(tick), 'grid'), word(LEFT - 6, y(tick) + 4, short(tick), 'end')]),
    xs.map((tick, i) => word(x(tick), HEIGHT - 6, names ? names[i] : short(tick), 'middle')),
    line(LEFT, low, WIDTH - RIGHT, low, 'axis'),
  ].flat(3);
}

function scales(lines, log) {
  const usable = (value) => value != null && (!log || value > 0);
  let [first, last, low, high] = [Infinity, -Infinity, Infinity, -Infinity];
  for (const { steps, values } of lines) {
    for (let i = 0; i < steps.length; i += 1) {
      if (!usable(values[i])) continue;
      first = Math.min(first, steps[i]);
      last = Math.max(last, steps[i]);
      low = Math.min(low, values[i]);
      high = Math.max(high, values[i]);
    }
  }
  if (first > last) return null;
  const bend = log ? Math.log10 : (value) => value;
  let [bottom, top] = [bend(low), bend(high)];
  const air = (top - bottom) * 0.05 || Math.abs(top) * 0.05 || 1;
  [bottom, top] = [bottom - air, top + air];
  const x = (step) => across(last > first ? (step - first) / (last - first) : 0.5);
  const y = (value) => (usable(value) ? down((bend(value) - bottom) / (top - bottom)) : null);
  const back = log ? (value) => 10 ** value : (value) => value;
  const ys = ticks(bottom, top, 4).map(back).filter((tick) => y(tick) != null);
  return { x, y, ys, first, last };
}

/**
 * A chart of lines `{ name, color, steps, values }`, values of which may be null. `settings` has
 * `smoothing` in [0, 1) and `log`. The values under the pointer, or those that the arrow keys go to,
 * are written below.
 */
export function lineChart(title, lines, { smoothing, log }) {
  const readout = el('p', { class: 'readout' });
  const figure = el('figure', {}, el('figcaption', {}, title));
  const scale = scales(lines, log);
  if (!scale) {
    figure.append(el('p', { class: 'note' }, log ? 'nothing positive to draw' : 'no finite values'));
    return figure;
  }
  const { x, y, ys, first, last } = scale;
  const shown = lines.map((line) => ({ ...line, drawn: smoothing ? smoothed(line.values, smoothing) : line.values }));
  const zip = (steps, values) => thinned(steps.map((step, i) => [step, values[i]]));
  const curves = shown.flatMap(({ color, steps, values, drawn }) => [
    smoothing ? svg('path', { d: path(zip(steps, values), x, y), class: 'raw', stroke: color }) : null,
    curve(zip(steps, drawn), x, y, color),
  ]);
  const cursor = svg('g');
  const latest = shown.map((line) => `${line.name} ${short(line.values.findLast((value) => value != null))}`);
  const drawing = svg('svg', {
    viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: 'img', tabindex: 0,
    'aria-label': `${title} by step; at the end ${latest.join(', ')}. Arrow keys read values.`,
  }, frame(ticks(first, last, 5).filter(Number.isInteger), ys, x, y), curves, cursor);
  const steps = [...new Set(shown.flatMap((line) => line.steps))].sort((a, b) => a - b);
  let at = null;
  const show = (index) => {
    at = index;
    cursor.replaceChildren();
    readout.replaceChildren();
    if (index == null) return;
    const step = steps[index];
    cursor.append(svg('line', { x1: x(step), x2: x(step), y1: TOP, y2: down(0), class: 'cursor' }));
    readout.append(el('span', {}, `step ${step}`));
    for (const line of shown) {
      const row = line.steps.indexOf(step);
      if (row < 0) continue;
      const value = line.drawn[row];
      const height = value == null ? null : y(value);
      if (height != null) cursor.append(svg('circle', { cx: x(step), cy: height, r: 3, fill: line.color }));
      const raw = smoothing ? ` (${short(line.values[row])})` : '';
      readout.append(el('span', {}, el('span', { class: 'swatch', color: line.color }), `${line.name} ${short(value)}${raw}`));
    }
  };
  const nearest = (event) => {
    const box = drawing.getBoundingClientRect();
    const place = ((event.clientX - box.left) / box.width) * WIDTH;
    const distance = (index) => Math.abs(x(steps[index]) - place);
    let [low, high] = [0, steps.length - 1];
    while (low < high) {
      const middle = (low + high) >> 1;
      if (x(steps[middle]) < place) low = middle + 1;
      else high = middle;
    }
    return low > 0 && distance(low - 1) < distance(low) ? low - 1 : low;
  };
  const keys = { ArrowLeft: -1, ArrowRight: 1, PageUp: -10, PageDown: 10, Home: -Infinity, End: Infinity };
  drawing.addEventListener('pointermove', (event) => show(nearest(event)));
  drawing.addEventListener('pointerdown', (event) => show(nearest(event)));
  drawing.addEventListener('pointerleave', () => show(null));
  drawing.addEventListener('blur', () => show(null));
  drawing.addEventListener('focus', () => readout.setAttribute('aria-live', 'polite'));
  drawing.addEventListener('keydown', (event) => {
    if (event.key === 'Escape') show(null);
    if (!(event.key in keys)) return;
    event.preventDefault();
    const from = at ?? (keys[event.key] < 0 ? steps.length : -1);
    show(Math.max(0, Math.min(steps.length - 1, from + keys[event.key])));
  });
  figure.append(drawing, readout);
  return figure;
}

/** Whether probabilities are right as often as they say: bins `{ confidence, accuracy, n }`. */
export function reliabilityChart(title, note, bins) {
  const filled = bins.filter((bin) => bin.n > 0 && bin.confidence != null);
  const total = filled.reduce((sum, bin) => sum + bin.n, 0);
  const x = (value) => across((value - 0.5) / 0.5);
  const y = down;
  const color = '#0072B2';
  const points = filled.map((bin) => svg('circle', {
    cx: x(bin.confidence), cy: y(bin.accuracy), r: Math.max(3, 14 * Math.sqrt(bin.n / total)), fill: color, 'fill-opacity': 0.75,
  }, svg('title', {}, `${bin.n} at ${short(bin.confidence)}: ${short(bin.accuracy)} right`)));
  const marks = [0.5, 0.6, 0.7, 0.8, 0.9, 1];
  const words = filled.map((bin) => `${short(bin.confidence)}: ${short(bin.accuracy)} of ${bin.n}`);
  return el('figure', {}, el('figcaption', {}, title, ' ', el('small', {}, note)),
    svg('svg', { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: 'img', 'aria-label': `${title}. ${words.join('; ')}` },
      frame(marks, [0, 0.25, 0.5, 0.75, 1], x, y),
      svg('line', { x1: x(0.5), y1: y(0.5), x2: x(1), y2: y(1), class: 'cursor' }),
      curve(filled.map((bin) => [bin.confidence, bin.accuracy]), x, y, color),
      points));
}

/** Bars `{ name, value, low, high }`, with a dashed line at `level` where there is one. */
export function barChart(title, note, bars, { top, level } = {}) {
  const reach = top ?? Math.max(1, ...bars.map((bar) => bar.value ?? 0));
  const y = (value) => down(value / reach);
  const x = (i) => across((i + 0.5) / bars.length);
  const half = (0.35 * (WIDTH - LEFT - RIGHT)) / bars.length;
  const bar = ({ value, low, high }, i) => value == null ? [] : [
    svg('rect', { x: x(i) - half, y: y(value), width: 2 * half, height: y(0) - y(value), fill: '#0072B2' }),
    low == null ? null : svg('line', { x1: x(i), x2: x(i), y1: y(low), y2: y(high), class: 'whisker' }),
  ];
  const words = bars.map(({ name, value }) => `${name} ${short(value)}`);
  return el('figure', {}, el('figcaption', {}, title, ' ', el('small', {}, note)),
    svg('svg', { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: 'img', 'aria-label': `${title}: ${words.join(', ')}` },
      frame(bars.map((_, i) => i), ticks(0, reach, 4), x, y, bars.map(({ name }) => name)),
      bars.flatMap(bar),
      level == null ? null : svg('line', { x1: LEFT, x2: WIDTH - RIGHT, y1: y(level), y2: y(level), class: 'cursor' })));
}
