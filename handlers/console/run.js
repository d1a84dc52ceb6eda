// A run: its progress, what it holds, and what an operator decides about it.

import { every, get, post, runPath } from './api.js';
import { ask, bar, el, facts, note, patch, say, table, tell } from './dom.js';
import { many, number, objectLink, runState, span, time, took, working } from './format.js';

const families = ['account', 'users', 'groups', 'members', 'apps', 'assignments', 'factors'];

// So many records are listed at once.
const somePage = 100;

// For so many milliseconds after an order the run is looked at often: its owner
// acts within moments.
const hurry = 30_000;

// progress shows how far each family of lists is.
export function progress(run) {
  const done = Object.entries(run.progress ?? {}).sort(([a], [b]) => families.indexOf(a) - families.indexOf(b));
  return [
    facts([
      ['Records changed', number(run.changes)],
      ['Calls', number(run.calls)],
      ['Time', took(run)],
      working(run) ? ['Time left', run.state === 'settling' ? 'until the System Log has caught up' : run.secondsLeft == null ? 'unknown' : `about ${span(run.secondsLeft)}`] : null,
    ]),
    table('Progress by family of lists', ['Family', 'Lists read', 'Objects', 'Calls', 'Waits for limits'],
      done.map(([family, p]) => [family, [bar(`${family}: lists read`, p.done, p.total), el('span', { class: 'line' }, p.total > 0 ? `${number(p.done)} of ${number(p.total)}` : `${number(p.done)}, how many is not known yet`)],
        number(p.objects), number(p.calls), number(p.rateLimitWaits)]), 'Nothing was read yet.'),
  ];
}

// run shows a run, lets it be cancelled, and what it holds be approved.
export async function run(main, signal, id) {
  const head = el('div');
  const outcome = el('div'); // of the last order
  const content = el('div');
  const held = el('section', { hidden: true, class: 'tall' });
  main.append(el('h1', null, 'Run ', el('code', null, id)), head, outcome, held, content);
  const path = runPath(id);
  let state = '';
  let ordered = -Infinity; // when the last order was given
  const done = new Set();

  const draw = async () => {
    let r;
    try {
      r = await get(path, signal);
    } catch (err) {
      if (!signal.aborted) patch(content, note('bad', err.message));
      return 5000;
    }
    announce(r);
    patch(head,
      el('p', { class: 'crumbs' }, el('a', { href: `#/instances/${encodeURIComponent(r.instance)}` }, `Instance ${r.instance}`)),
      el('p', { class: 'pills' }, runState(r.state), ` ${r.mode}${r.object ? ` of ${r.object}` : ''}${r.force ? ', without the brake' : ''}, by ${r.trigger}, `,
        time(r.startedAt), r.endedAt ? [' to ', time(r.endedAt)] : ''),
      el('div', { class: 'buttons' }, working(r)
        ? el('button', { type: 'button', class: 'danger', onclick: () => act(cancel) }, 'Cancel the run …') : null));
    patch(content,
      (r.errors ?? []).length > 0 ? [el('h2', null, 'What could not be read'), note('warn', 'Nothing of these lists was deleted.'),
        table('Lists that could not be read', ['List', 'Why, and what to do'], r.errors.map((e) => [el('code', null, e.scope), e.error]))] : null,
      el('h2', null, 'Progress'), progress(r));
    await showHeld(r);
    return working(r) || performance.now() - ordered < hurry ? 1000 : 5000;
  };

  // announce reads out what changed since the last look.
  function announce(r) {
    const news = Object.entries(r.progress ?? {}).filter(([family, p]) => p.total > 0 && p.done === p.total && !done.has(family)).map(([family]) => family);
    news.forEach((family) => done.add(family));
    if (r.state !== state) say(`The run is ${r.state}`);
    else if (news.length > 0) say(`Read to the end: ${news.join(', ')}`);
    state = r.state;
  }

  // What is held is read once, and on as far as it is asked for: the operator reads
  // it, and nothing may move under the eyes. What is held of a scope as a whole is
  // listed record by record, too: pages that are still to be read wait in a queue.
  let list = null;
  async function showHeld(r) {
    held.hidden = r.state !== 'held';
    if (held.hidden) {
      list = null;
      held.replaceChildren();
      return;
    }
    if (list) {
      list.run = r;
      drawHeld(list);
      return;
    }
    await begin(r);
  }

  async function begin(r) {
    const rows = table('Held for approval', ['Name', 'Record', 'What', 'Seen'], []);
    list = { run: r, seen: new Set(), pages: [{ scope: '', after: '' }], reading: false, problem: '',
      above: el('div'), body: rows.querySelector('tbody'), below: el('div') };
    held.replaceChildren(el('h2', null, 'Held for approval'), list.above, rows, list.below);
    await more(list);
  }

  // more reads on. A page leaves the queue once it was read, and one is read at a
  // time: so none is lost when an answer is.
  async function more(of) {
    if (of.reading) return;
    of.reading = true;
    drawHeld(of);
    const enough = of.seen.size + somePage;
    try {
      while (of.pages.length > 0 && of.seen.size < enough) {
        const { scope, after } = of.pages[0];
        const asked = new URLSearchParams();
        if (scope) asked.set('scope', scope);
        if (after) asked.set('after', after);
        const part = await get(`${path}/held?${asked}`, signal);
        of.pages.shift();
        if (part.next) of.pages.unshift({ scope, after: part.next });
        for (const h of part.held) {
          if (h.scope && h.deletes > 0) of.pages.push({ scope: h.record, after: '' });
          else add(of, h);
        }
      }
      of.problem = '';
    } catch (err) {
      of.problem = err.message;
    }
    of.reading = false;
    if (signal.aborted || of !== list) return;
    drawHeld(of);
  }

  function add(of, h) {
    if (of.seen.has(h.record)) return; // one may come twice
    of.seen.add(h.record);
    const cells = [h.name || '–', record(of.run.instance, h.record), h.deletes > 0 ? 'delete' : 'comes or changes', time(h.asOf)];
    of.body.append(el('tr', null, cells.map((cell, i) => el(i === 0 ? 'th' : 'td', i === 0 ? { scope: 'row' } : null, cell))));
  }

  // What came since the list was begun is in the number, and in no page of it.
  const unseen = (of) => Math.max(0, (of.run.held?.total ?? 0) - of.seen.size);

  function drawHeld(of) {
    const r = of.run;
    patch(of.above,
      el('p', null, r.mode === 'verify'
        ? 'This is what the graph had missed. Approve it, and the graph is repaired.'
        : 'A read found more gone than the brake lets pass, so these deletes wait. Find a few of them in Okta’s Admin Console. Gone there, too: approve. Still there: drop them, mend what hides them (mostly a right of the token’s owner), and resync.'),
      kinds(r.held));
    // It keeps the focus while it waits: a button that is disabled loses it.
    const on = (text, f) => el('button', { type: 'button', 'data-key': 'more', 'aria-disabled': of.reading ? 'true' : null, onclick: f }, text);
    patch(of.below,
      of.problem ? note('bad', `What is held cannot be listed: ${of.problem}`) : null,
      el('div', { class: 'buttons' }, el('span', { role: 'status' }, `Shown: ${number(of.seen.size)} of ${number(r.held?.total)}`),
        of.pages.length > 0 ? on(of.problem ? 'Try again' : 'Show more', () => more(of))
          : unseen(of) > 0 ? on('List anew', () => begin(of.run)) : null),
      el('div', { class: 'buttons' },
        el('button', { type: 'button', class: 'danger', 'data-key': 'approve', onclick: () => act(() => approve(of)) }, 'Approve …'),
        el('button', { type: 'button', 'data-key': 'drop', onclick: () => act(drop) }, 'Drop them …')));
  }

  async function act(order) {
    patch(outcome);
    try {
      await order();
    } catch (err) {
      if (!signal.aborted) patch(outcome, note('bad', err.message));
    }
    if (!signal.aborted) await draw();
  }

  async function give(order, told) {
    await post(`${path}/${order}`);
    ordered = performance.now();
    tell(outcome, `${told} It takes effect within moments.`);
  }

  async function cancel() {
    if (!await ask({ title: 'Cancel the run?', confirm: 'Cancel the run', kind: 'danger', body: el('p', null, 'What it has read stays. Nothing more is read or deleted.') })) return;
    await give('cancel', 'Cancelled.');
  }

  async function approve(of) {
    const sure = await ask({ title: `Approve ${many(of.run.held?.total, 'object')}?`, confirm: 'Approve', kind: 'danger', body: [
      kinds(of.run.held),
      unseen(of) > 0 ? note('warn', `${number(unseen(of))} of them are not in the list that you see.`) : null,
      el('p', null, 'They count as of the time they were seen: what was observed since wins. Deleted objects leave the graph, and every sink.')] });
    if (!sure) return;
    await give('approve', 'Approved.');
  }

  async function drop() {
    if (!await ask({ title: 'Drop what is held?', confirm: 'Drop', body: el('p', null, 'Nothing is deleted. The next run that finds them gone holds them again.') })) return;
    await give('cancel', 'Dropped.');
  }

  await every(signal, draw);
}

const kinds = (held) => facts(Object.entries(held?.kinds ?? {}).sort().map(([kind, h]) => [kind,
  [h.deletes > 0 ? many(h.deletes, 'delete') : '', h.changes > 0 ? many(h.changes, 'change') : ''].filter(Boolean).join(', ')]));

// record shows the id of a record, as member/00g…/00u…, and leads to the objects in it.
function record(instance, id) {
  const [kind, ...keys] = id.split('/');
  return [el('code', null, kind), keys.map((key) => [' ', el('a', { href: objectLink(instance, key) }, key)])];
}
