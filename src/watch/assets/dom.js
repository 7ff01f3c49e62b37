// Elements made from plain values. Text is only ever set as text: there is no way from a string to
// markup here.

const SVG = 'http://www.w3.org/2000/svg';

/** An HTML element with attributes (functions are listeners) and children (strings are text). */
export function el(name, attributes = {}, ...children) {
  return fill(document.createElement(name), attributes, children);
}

/** The same in SVG. */
export function svg(name, attributes = {}, ...children) {
  return fill(document.createElementNS(SVG, name), attributes, children);
}

function fill(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (typeof value === 'function') element.addEventListener(name, value);
    else if (name === 'color') element.style.setProperty('background', value);
    else if (value === true) element.setAttribute(name, '');
    else if (value !== false && value != null) element.setAttribute(name, value);
  }
  element.append(...children.flat(Infinity).filter((child) => child != null));
  return element;
}

/** A number in few letters. */
export function short(value) {
  if (value == null || !Number.isFinite(value)) return '-';
  const size = Math.abs(value);
  if (value === 0) return '0';
  if (size >= 1e6 || size < 1e-3) return value.toExponential(2).replace('e+', 'e');
  return String(Number(value.toPrecision(4)));
}

/** A table as the server sends them: the first column names the rows. */
export function table({ caption, note, head, rows }) {
  const cells = (row) => row.map((cell, i) => (i ? el('td', {}, cell) : el('th', { scope: 'row' }, cell)));
  return el('div', { class: 'scroll', role: 'region', tabindex: 0, 'aria-label': caption },
    el('table', {},
      el('caption', {}, el('span', {}, caption, note ? el('small', {}, note) : null)),
      el('thead', {}, el('tr', {}, head.map((cell) => el('th', { scope: 'col' }, cell)))),
      el('tbody', {}, rows.map((row) => el('tr', {}, cells(row))))));
}

/** A choice of one of several; `options` are [value, name]. */
export function choice(label, options, value, change) {
  const select = el('select', { change: () => change(select.value) },
    options.map(([key, name]) => el('option', { value: key, selected: String(key) === String(value) }, name)));
  return el('label', {}, label, select);
}

/** What the server answers to a path. */
export async function get(path) {
  const response = await fetch(path);
  if (!response.ok) throw new Error((await response.text()).trim());
  return response.json();
}

/**
 * A view of one answer for each chosen run, drawn anew when an answer changes: `content` makes what stands
 * below the run's name, for the runs whose answer `holds` something; `none` is said where no run does.
 */
export function runSections(state, kind, { holds = () => true, content, none }) {
  const list = el('div');
  let shown = null;
  const show = async () => {
    const chosen = state.runs.filter((run) => run.chosen);
    const answers = await Promise.all(chosen.map(async (run) => {
      try {
        return [run, await get(`/api/${kind}?run=${run.number}`)];
      } catch (fault) {
        return [run, { fault: fault.message, tables: [] }];
      }
    }));
    const now = JSON.stringify(answers.map(([run, answer]) => [run.number, answer]));
    if (now === shown) return;
    shown = now;
    const parts = answers.filter(([, answer]) => answer.fault || holds(answer));
    list.replaceChildren(...parts.map(([run, answer]) => el('section', { 'aria-label': run.name }, el('h2', {}, run.name),
      answer.fault ? el('p', { role: 'alert' }, answer.fault) : null,
      content(answer))));
    if (!parts.length && none) list.append(el('p', {}, none));
  };
  show();
  return { element: list, update: show };
}
