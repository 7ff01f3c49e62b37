// Evaluation tables, finished stages and the run file.

import { el, runSections, table } from './dom.js';

function stages(found) {
  const rows = Object.entries(found ?? {}).map(([name, { seconds }]) => [name, `${seconds.toFixed(1)} s`]);
  return rows.length ? table({ caption: 'Finished stages', head: ['stage', 'took'], rows }) : null;
}

/** The view of results. */
export function resultsView(state) {
  return runSections(state, 'results', {
    content: (answer) => [
      answer.tables.length ? answer.tables.map(table) : el('p', {}, 'No evaluation yet.'),
      stages(answer.stages),
      answer.config == null ? null : el('details', {}, el('summary', {}, 'Run file'), el('pre', { tabindex: 0 }, answer.config)),
    ],
  });
}
