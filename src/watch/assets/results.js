// Evaluation tables, finished stages and the run file.

import { el, get, table } from './dom.js';

function stages(found) {
  const rows = Object.entries(found ?? {}).map(([name, { seconds }]) => [name, `${seconds.toFixed(1)} s`]);
  return rows.length ? table({ caption: 'Finished stages', head: ['stage', 'took'], rows }) : null;
}

/** The view of results. */
export function resultsView(state) {
  const list = el('div');
  let shown = null;
  const show = async () => {
    const chosen = state.runs.filter((run) => run.chosen);
    const answers = await Promise.all(chosen.map(async (run) => {
      try {
        return [run, await get(`/api/results?run=${run.number}`)];
      } catch (fault) {
        return [run, { fault: fault.message, tables: [] }];
      }
    }));
    const now = JSON.stringify(answers.map(([run, answer]) => [run.number, answer]));
    if (now === shown) return;
    shown = now;
    list.replaceChildren(...answers.map(([run, answer]) => el('section', { 'aria-label': run.name }, el('h2', {}, run.name),
      answer.fault ? el('p', { role: 'alert' }, answer.fault) : null,
      answer.tables.length ? answer.tables.map(table) : el('p', {}, 'No evaluation yet.'),
      stages(answer.stages),
      answer.config == null ? null : el('details', {}, el('summary', {}, 'Run file'), el('pre', { tabindex: 0 }, answer.config)))));
  };
  show();
  return { element: list, update: show };
}
