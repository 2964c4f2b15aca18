// What the edges add to the official client's own floor: the same measures against the stand-in and against the edges, in turns.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';

import { Network } from '../../examples/xmtp-node/src/network.mjs';
import { measures } from './measures.mjs';
import { milliseconds, percentile, table } from './table.mjs';

// In a process of its own, as the edges are.
async function startStandIn(edges) {
  const path = fileURLToPath(new URL('stand-in.mjs', import.meta.url));
  const child = spawn(process.execPath, [path, '--port', '0', '--edges', String(edges)], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const [line] = await once(createInterface(child.stdout), 'line');
  return { urls: line.replace('edges ', '').split(','), stop: () => child.kill() };
}

// One sample here, one there, so that whatever else the machine does falls on both.
async function measure({ name, samples, prepare }, targets, progress) {
  const taken = Object.fromEntries(Object.keys(targets).map((target) => [target, []]));
  const prepared = [];
  for (const [target, network] of Object.entries(targets)) prepared.push([target, await prepare(network)]);
  for (let i = 0; i < samples; i++) {
    progress(`${name} ${i + 1}/${samples}`);
    for (const [target, sample] of prepared) taken[target].push(await sample());
  }
  return taken;
}

function rows({ name, percentiles }, taken) {
  return percentiles.map((percent) => {
    const floor_ms = percentile(taken.floor, percent);
    const edges_ms = taken.edges && percentile(taken.edges, percent);
    return { measure: `${name} p${percent}`, samples: taken.floor.length, floor_ms, edges_ms };
  });
}

function print(results) {
  const cells = results.map(({ measure, samples, floor_ms, edges_ms }) => [
    measure,
    String(samples),
    milliseconds(floor_ms),
    ...(edges_ms === undefined ? [] : [milliseconds(edges_ms), milliseconds(edges_ms - floor_ms)]),
  ]);
  const head = ['ms', 'samples', 'floor', 'edges', 'added'];
  console.log(table(head.slice(0, cells[0].length), cells));
}

async function main({ edges, only, json }) {
  const urls = edges?.split(',');
  const floor = await startStandIn(urls?.length ?? 1);
  const targets = { floor: new Network(floor.urls), ...(urls && { edges: new Network(urls) }) };
  const progress = process.stderr.isTTY ? (text) => process.stderr.write(`\r\x1b[K${text}`) : () => {};
  const results = [];
  try {
    for (const each of measures) {
      if (only && !only.split(',').includes(each.name)) continue;
      results.push(...rows(each, await measure(each, targets, progress)));
    }
    progress('');
    if (json) console.log(JSON.stringify(results.map(rounded), null, 2));
    else print(results);
  } finally {
    floor.stop();
    for (const network of Object.values(targets)) await network.close();
  }
}

function rounded(result) {
  const numbers = Object.entries(result).filter(([, value]) => value !== undefined);
  return Object.fromEntries(numbers.map(([key, value]) => [key, key.endsWith('_ms') ? Number(value.toFixed(1)) : value]));
}

const { values } = parseArgs({
  options: {
    edges: { type: 'string' },
    only: { type: 'string' },
    json: { type: 'boolean', default: false },
  },
});
main(values).then(
  () => process.exit(0),
  (error) => {
    console.error(error);
    process.exit(1);
  },
);
