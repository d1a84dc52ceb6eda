// The query box: J1QL, its answers, and what is wrong with a query.

import { query } from './api.js';
import { el, note, patch, say, table } from './dom.js';
import { many, objectLink, time } from './format.js';
import { tabs } from './instances.js';
import { picture } from './picture.js';

const examples = [
  ['Users that are no person', 'Find User that !is Person'],
  ['Who has the most applications', 'Find okta_user as u that ASSIGNED okta_application as a\n  return u.displayName as user, count(a) as applications order by applications desc limit 20'],
  ['Through which group', 'Find okta_user as u that HAS UserGroup as g that ASSIGNED okta_application as a\n  return u.displayName as who, g.displayName as through, a.displayName as application limit 100'],
  ['Active users without a factor', 'Find okta_user with active = true that !ASSIGNED mfa_device'],
  ['Groups and their applications, as a picture', 'Find UserGroup that ASSIGNED okta_application return tree'],
];

const pageRows = 100;

export async function queries(main, signal, id) {
  const text = el('textarea', { id: 'j1ql', rows: '4', spellcheck: 'false', autocomplete: 'off', autocapitalize: 'off', maxlength: '32768',
    'aria-describedby': 'j1ql-hint', onkeydown: (event) => {
      if (event.key === 'Enter' && (event.ctrlKey || event.metaKey)) {
        event.preventDefault();
        ask([]);
      }
    } });
  text.value = examples[0][1];
  const answer = el('section');
  main.append(el('h1', null, `Query ${id}`), tabs(id, 'Query'),
    el('form', { onsubmit: (event) => {
      event.preventDefault();
      ask([]);
    } },
    el('label', { for: 'j1ql' }, 'J1QL'), text,
    el('p', { id: 'j1ql-hint', class: 'quiet' }, 'Ctrl+Enter asks. Names mind the case; keywords and verbs do not.'),
    el('div', { class: 'buttons' }, el('button', { type: 'submit', class: 'main' }, 'Ask')),
    el('details', { open: true }, el('summary', null, 'Examples'),
      el('ul', { class: 'examples' }, examples.map(([name, example]) => el('li', null,
        el('button', { type: 'button', class: 'link', onclick: () => {
          text.value = example;
          ask([]);
        } }, name)))))),
    answer);

  // before holds the cursors of the pages up to the one that is asked for.
  let round = 0;
  async function ask(before) {
    const mine = ++round; // an answer that comes after the next question is not shown
    const asked = text.value;
    answer.setAttribute('aria-busy', 'true');
    try {
      const a = await query(id, { query: asked, limit: pageRows, cursor: before.at(-1) }, signal);
      if (mine === round) await show(a, before);
    } catch (err) {
      if (signal.aborted || mine !== round) return;
      answer.replaceChildren(note('bad', err.message), ...where(err.message, asked));
    } finally {
      if (mine === round) answer.removeAttribute('aria-busy');
    }
  }

  async function show(a, before) {
    const { columns, rows } = a.type === 'tree' ? { columns: [], rows: [] } : tabulate(id, a);
    const count = a.type === 'tree' ? `${many(a.data.vertices.length, 'object')}, ${many(a.data.edges.length, 'relationship')}` : many(rows.length, 'row');
    answer.replaceChildren(
      el('p', null, count, before.length > 0 ? `, page ${before.length + 1}` : '', a.lastChange ? [', as of ', time(a.lastChange)] : ''),
      ...(a.warnings ?? []).map((warning) => note('warn', warning)));
    say(count);
    if (a.type === 'tree') {
      const place = el('div');
      answer.append(place);
      await picture(place, signal, id, { nodes: a.data.vertices.map((v) => v.entity), edges: a.data.edges.map((e) => e.relationship), label: 'Picture of the answer' });
      answer.append(table('Objects of the answer', ['Object', 'Type'], a.data.vertices.slice(0, pageRows).map((v) => [link(id, v), v.entity._type[0]]), 'Nothing was found.'));
      if (a.data.vertices.length > pageRows) answer.append(el('p', { class: 'quiet' }, `The first ${pageRows} are listed.`));
      return;
    }
    answer.append(table('Answer', columns, rows, 'Nothing was found.'));
    if (before.length > 0 || a.cursor) {
      answer.append(el('div', { class: 'buttons' },
        before.length > 0 ? el('button', { type: 'button', onclick: () => ask(before.slice(0, -1)) }, 'Page before') : '',
        a.cursor ? el('button', { type: 'button', onclick: () => ask([...before, a.cursor]) }, 'Next page') : ''));
    }
  }

  // where shows the place in the query that an error names, and goes there.
  function where(message, asked) {
    const found = /^line (\d+), column (\d+):/.exec(message);
    if (!found) return [];
    const lines = asked.split('\n');
    const [line, column] = [Number(found[1]), Number(found[2])];
    const before = lines.slice(0, line - 1).join('\n').length + (line > 1 ? 1 : 0);
    // Columns count characters; the text is kept in UTF-16.
    const at = before + [...(lines[line - 1] ?? '')].slice(0, column - 1).join('').length;
    return [
      el('pre', { class: 'where' }, `${lines[line - 1] ?? ''}\n${' '.repeat(Math.max(0, column - 1))}▲`),
      el('button', { type: 'button', onclick: () => {
        text.focus();
        text.setSelectionRange(at, at);
      } }, `Go to line ${line}, column ${column}`),
    ];
  }
}

// tabulate makes rows of a list or a table. An object becomes a link to it.
function tabulate(id, a) {
  const isElement = (v) => v && typeof v === 'object' && (v.entity || v.relationship) && v.properties;
  const cell = (v) => (isElement(v) ? link(id, v) : value(v));
  if (a.type === 'list' && a.data.every(isElement)) {
    const columns = ['Object', 'Type', 'Class', 'Key', 'Properties'];
    return { columns, rows: a.data.map((e) => {
      const meta = e.entity ?? e.relationship;
      return [link(id, e), [meta._type].flat().join(', '), [meta._class].flat().join(', '), el('code', null, e.id), properties(e.properties)];
    }) };
  }
  return { columns: a.columns, rows: a.data.map((row) => a.columns.map((column) => cell(row[column]))) };
}

function link(id, e) {
  const meta = e.entity ?? e.relationship;
  const name = String(meta.displayName ?? e.id);
  return e.entity ? el('a', { href: objectLink(id, e.id) }, name) : el('span', null, el('bdi', null, name), ' ', el('code', null, e.id));
}

export function properties(all) {
  const names = Object.keys(all).sort();
  return el('details', null, el('summary', null, many(names.length, 'property', 'properties')),
    el('dl', { class: 'properties' }, names.map((name) => el('div', null, el('dt', null, name), el('dd', null, value(all[name]))))));
}

const value = (v) => (v == null ? '–' : typeof v === 'object' ? JSON.stringify(v) : String(v));
