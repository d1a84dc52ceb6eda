// A run: its progress, what it holds, and what an operator decides about it.

import { every, get, post, runPath } from './api.js';
import { ask, bar, el, facts, note, patch, say, table } from './dom.js';
import { many, number, objectLink, runState, span, time, took, working } from './format.js';

const families = ['account', 'users', 'groups', 'members', 'apps', 'assignments', 'factors'];

// So many records are listed at once.
const somePage = 100;

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
  const failed = el('div');
  const content = el('div');
  const held = el('section', { hidden: true, class: 'tall' });
  main.append(el('h1', null, 'Run ', el('code', null, id)), head, failed, held, content);
  const path = runPath(id);
  let state = '';
  let decided = false; // its owner acts within moments
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
    return working(r) || decided ? 1000 : 5000;
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
  let shown = null;
  let pages = [];
  async function showHeld(r) {
    if (r.state !== 'held') {
      held.hidden = true;
      patch(held);
      shown = null;
      return;
    }
    if (shown) return;
    [shown, pages] = [new Map(), [{ scope: '', after: '' }]];
    held.hidden = false;
    await more(r);
  }

  async function more(r) {
    const enough = shown.size + somePage;
    try {
      while (pages.length > 0 && shown.size < enough) {
        const { scope, after } = pages[0];
        const asked = new URLSearchParams();
        if (scope) asked.set('scope', scope);
        if (after) asked.set('after', after);
        const part = await get(`${path}/held?${asked}`, signal);
        pages.shift();
        if (part.next) pages.unshift({ scope, after: part.next });
        for (const h of part.held) {
          if (h.scope) pages.push({ scope: h.record, after: '' });
          else shown.set(h.record, h); // one may come twice
        }
      }
    } catch (err) {
      if (signal.aborted) return;
      patch(failed, note('bad', `What is held cannot be listed: ${err.message}`));
    }
    patch(held,
      el('h2', null, 'Held for approval'),
      el('p', null, r.mode === 'verify'
        ? 'This is what the graph had missed. Approve it, and the graph is repaired.'
        : 'A read found more gone than the brake lets pass, so these deletes wait. Find a few of them in Okta’s Admin Console. Gone there, too: approve. Still there: drop them, mend what hides them (mostly a right of the token’s owner), and resync.'),
      kinds(r.held),
      table('Held for approval', ['Name', 'Record', 'What', 'Seen'], [...shown.values()].map((h) => Object.assign([
        h.name || '–', record(r.instance, h.record), h.deletes > 0 ? 'delete' : 'comes or changes', time(h.asOf)], { key: h.record }))),
      el('div', { class: 'buttons' },
        pages.length > 0 ? el('button', { type: 'button', 'data-key': 'more', onclick: () => more(r) }, 'Show more') : null,
        el('button', { type: 'button', class: 'danger', 'data-key': 'approve', onclick: () => act(() => approve(r)) }, 'Approve …'),
        el('button', { type: 'button', 'data-key': 'drop', onclick: () => act(drop) }, 'Drop them …')));
  }

  async function act(order) {
    patch(failed);
    try {
      await order();
      decided = true;
    } catch (err) {
      if (!signal.aborted) patch(failed, note('bad', err.message));
    }
    if (!signal.aborted) await draw();
  }

  async function cancel() {
    if (!await ask({ title: 'Cancel the run?', confirm: 'Cancel the run', kind: 'danger', body: el('p', null, 'What it has read stays. Nothing more is read or deleted.') })) return;
    await post(`${path}/cancel`);
  }

  async function approve(r) {
    const sure = await ask({ title: `Approve ${many(r.held?.total, 'object')}?`, confirm: 'Approve', kind: 'danger', body: [
      kinds(r.held),
      el('p', null, 'They count as of the time they were seen: what was observed since wins. Deleted objects leave the graph, and every sink.')] });
    if (!sure) return;
    await post(`${path}/approve`);
    say('Approved. It takes effect within moments.');
  }

  async function drop() {
    if (!await ask({ title: 'Drop what is held?', confirm: 'Drop', body: el('p', null, 'Nothing is deleted. The next run that finds them gone holds them again.') })) return;
    await post(`${path}/cancel`);
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
