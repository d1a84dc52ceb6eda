// A part of the graph as a picture: people to the left, what they reach to the
// right, and what leads there between.

import { el, note } from './dom.js';
import { many, objectLink } from './format.js';

// So many objects are drawn: a picture of more shows nothing any more.
const most = 150;

// The kinds of objects, by class, and the columns in which they stand, from left to
// right; what is of no class here is of the last kind.
const kinds = [
  ['People', ['Person'], 0],
  ['Account', ['Account'], 0],
  ['Users', ['User'], 1],
  ['Groups', ['UserGroup'], 2],
  ['Applications', ['Application'], 3],
  ['Others', [], 4],
];

function kindOf(node) {
  const i = kinds.findIndex(([, classes]) => [node._class].flat().some((c) => classes.includes(c)));
  return i < 0 ? kinds.length - 1 : i;
}

const columnOf = (node) => kinds[kindOf(node)][2];

export const nameOf = (node) => String(node.displayName ?? node._key);

const rowHeight = 34;
const rowsBeforeWrap = 40;

// place gives each node its place. Within a column nodes stand where those that
// they are tied to stand, so that few lines cross.
function place(nodes, edges, width) {
  const lanes = [0, 1, 2, 3, 4].map(() => []);
  for (const node of nodes) lanes[columnOf(node)].push(node);
  const tied = new Map(nodes.map((node) => [node._key, []]));
  for (const e of edges) {
    tied.get(e._fromEntityKey).push(e._toEntityKey);
    tied.get(e._toEntityKey).push(e._fromEntityKey);
  }
  const rank = new Map();
  const number = (lane) => lane.forEach((node, i) => rank.set(node._key, lane.length > 1 ? i / (lane.length - 1) : 0.5));
  for (const lane of lanes) {
    lane.sort((a, b) => nameOf(a).localeCompare(nameOf(b)));
    number(lane);
  }
  const middle = (node) => {
    const others = tied.get(node._key);
    return others.length === 0 ? 1 : others.reduce((sum, key) => sum + rank.get(key), 0) / others.length;
  };
  for (let round = 0; round < 2; round++) {
    for (const lane of lanes) {
      const at = new Map(lane.map((node) => [node._key, middle(node)]));
      lane.sort((a, b) => at.get(a._key) - at.get(b._key));
      number(lane);
    }
  }
  const used = lanes.filter((lane) => lane.length > 0);
  // A long column becomes several where there is room for them.
  const wanted = used.map((lane) => Math.ceil(lane.length / rowsBeforeWrap));
  const room = Math.max(used.length, Math.floor(width / 150));
  const wraps = wanted.reduce((a, b) => a + b, 0) <= room ? wanted : used.map(() => 1);
  const total = wraps.reduce((a, b) => a + b, 0);
  const step = width / total;
  const rows = Math.max(...used.map((lane, i) => Math.ceil(lane.length / wraps[i])));
  const height = Math.max(4, rows + 1) * rowHeight;
  const positions = new Map();
  let left = 0;
  used.forEach((lane, i) => {
    const perColumn = Math.ceil(lane.length / wraps[i]);
    lane.forEach((node, n) => {
      const [column, row] = [Math.floor(n / perColumn), n % perColumn];
      const inThis = Math.min(perColumn, lane.length - column * perColumn);
      positions.set(node._key, { x: (left + column + 0.5) * step, y: height / 2 + (row - (inThis - 1) / 2) * rowHeight });
    });
    left += wraps[i];
  });
  return { positions, height, step };
}

// picture draws nodes and edges, as a query gives their metadata, and tells when
// it leaves some out. What it shows stands in words beside it: it is no more than
// an image to those who do not see it.
export async function picture(into, signal, instance, { nodes, edges, center, label }) {
  const { default: cytoscape } = await import('./lib/cytoscape.esm.min.mjs');
  if (signal.aborted) return;
  if (nodes.length > most) into.append(note('warn', `The picture shows ${most} of ${many(nodes.length, 'object')}.`));
  const drawn = nodes.slice(0, most);
  if (drawn.length === 0) return;
  const known = new Set(drawn.map((node) => node._key));
  const lines = edges.filter((e) => known.has(e._fromEntityKey) && known.has(e._toEntityKey));
  const column = new Map(drawn.map((node) => [node._key, columnOf(node)]));
  // A line leaves a node on the side where the other one stands: it crosses no name.
  const way = (e) => Math.sign(column.get(e._toEntityKey) - column.get(e._fromEntityKey));
  const canvas = el('div', { class: 'picture', role: 'img', 'aria-label': `${label}: ${many(drawn.length, 'object')}, ${many(lines.length, 'relationship')}`, 'data-keep': true });
  into.append(legend(drawn, lines), canvas);

  // It is drawn anew when it gets another width or other colours: what is drawn
  // keeps pieces of its old look.
  let graph;
  let width = 0;
  const draw = () => {
    if (canvas.clientWidth === 0) return; // it is not laid out, or gone
    graph?.destroy();
    width = canvas.clientWidth;
    const { positions, height, step } = place(drawn, lines, width);
    canvas.style.height = `${height}px`;
    graph = cytoscape({
      container: canvas,
      elements: [
        ...drawn.map((node) => ({ data: { id: node._key, name: nameOf(node), kind: kindOf(node), center: node._key === center ? 1 : 0 }, position: positions.get(node._key) })),
        ...lines.map((e) => ({ data: { id: e._key, source: e._fromEntityKey, target: e._toEntityKey, way: way(e), direct: e.direct ? 1 : 0 } })),
      ],
      layout: { name: 'preset', fit: false },
      style: look(step),
      autoungrabify: true,
      boxSelectionEnabled: false,
      userZoomingEnabled: false, // the wheel and the finger scroll the page
      userPanningEnabled: false,
    });
    graph.on('tap', 'node', (event) => {
      location.hash = objectLink(instance, event.target.id());
    });
    graph.on('mouseover', 'node', (event) => {
      canvas.classList.add('over');
      graph.elements().not(event.target.closedNeighborhood()).addClass('faint');
    });
    graph.on('mouseout', 'node', () => {
      canvas.classList.remove('over');
      graph.elements().removeClass('faint');
    });
  };
  matchMedia('(prefers-color-scheme: dark)').addEventListener('change', draw, { signal });
  const resized = new ResizeObserver(() => {
    if (canvas.clientWidth !== width && canvas.isConnected) draw();
  });
  resized.observe(canvas);
  signal.addEventListener('abort', () => {
    resized.disconnect();
    graph?.destroy();
  });
}

function legend(nodes, edges) {
  const shown = kinds.map(([name], i) => [name, i, nodes.filter((node) => kindOf(node) === i).length]).filter(([, , n]) => n > 0);
  return el('p', { class: 'legend' }, shown.map(([name, i, n]) => el('span', { class: `swatch kind${i}` }, `${name} (${n})`)),
    edges.some((e) => e.direct) ? el('span', null, 'dashed: directly, through no group') : null);
}

// look takes the colours from the style sheet, so that they follow its scheme.
function look(step) {
  const css = getComputedStyle(document.documentElement);
  const colour = (name) => css.getPropertyValue(`--${name}`).trim();
  const width = Math.min(190, step * 0.78);
  return [
    { selector: 'node', style: {
      shape: 'round-rectangle', width, height: 24, label: 'data(name)', 'text-valign': 'center', 'text-halign': 'center',
      'text-wrap': 'ellipsis', 'text-max-width': `${width - 10}px`, 'font-size': 12, 'font-family': 'system-ui, sans-serif',
      color: colour('text'), 'background-color': colour('surface'), 'border-width': 1.5, 'border-color': colour('muted'),
    } },
    ...kinds.map((_, i) => ({ selector: `node[kind = ${i}]`, style: { 'border-color': colour(`kind${i}`), 'background-color': colour(`kind${i}-back`) } })),
    { selector: 'node[center = 1]', style: { 'border-width': 4 } },
    { selector: 'edge', style: {
      width: 1.5, 'line-color': colour('line'), 'curve-style': 'straight', 'target-arrow-shape': 'triangle', 'target-arrow-color': colour('line'), 'arrow-scale': 0.8,
    } },
    { selector: 'edge[way = 1]', style: { 'source-endpoint': '50% 0', 'target-endpoint': '-50% 0' } },
    { selector: 'edge[way = -1]', style: { 'source-endpoint': '-50% 0', 'target-endpoint': '50% 0' } },
    { selector: 'edge[direct = 1]', style: { 'line-style': 'dashed' } },
    { selector: '.faint', style: { opacity: 0.2 } },
  ];
}
