// Runs the scenarios one after another, and stops at the first that fails.
import { parseArgs } from 'node:util';

import { Network } from './network.mjs';
import { scenarios } from './scenarios/index.mjs';

const USAGE =
  'node src/main.mjs --edges URL,URL,… [--kill-pid PID] [--messages 1000] [--only NAME,…] [--seed N]\n' +
  `scenarios: ${scenarios.map(({ name }) => name).join(' ')}`;

function options() {
  const { values } = parseArgs({
    options: {
      edges: { type: 'string' },
      'kill-pid': { type: 'string' },
      messages: { type: 'string', default: '1000' },
      only: { type: 'string' },
      seed: { type: 'string' },
    },
  });
  if (!values.edges) throw new Error('which edges?');
  const only = values.only?.split(',');
  const unknown = only?.find((name) => !scenarios.some((scenario) => scenario.name === name));
  if (unknown) throw new Error(`there is no scenario ${unknown}`);
  return {
    edges: values.edges.split(',').map((edge) => edge.replace(/\/$/, '')),
    killPid: values['kill-pid'] && Number(values['kill-pid']),
    messages: Number(values.messages),
    chosen: scenarios.filter(({ name }) => !only || only.includes(name)),
    seed: values.seed,
  };
}

async function main({ edges, killPid, messages, chosen, seed }) {
  const network = new Network(edges, seed);
  console.log(`${edges.length} edges, seed ${network.seed}`);
  const started = Date.now();
  for (const { name, run } of chosen) {
    const start = Date.now();
    try {
      const note = await run(network, { killPid, messages });
      console.log(`ok    ${name.padEnd(14)} ${seconds(start)}${note ? `  ${note}` : ''}`);
    } catch (error) {
      console.log(`FAIL  ${name.padEnd(14)} ${seconds(start)}  ${error.message.split('\n')[0]}`);
      console.error(error);
      return 1;
    }
  }
  console.log(`passed ${chosen.length} of ${chosen.length} in ${seconds(started).trim()}`);
  await network.close();
  return 0;
}

function seconds(since) {
  return `${((Date.now() - since) / 1000).toFixed(1)} s`.padStart(8);
}

let given;
try {
  given = options();
} catch (error) {
  console.error(`${error.message}\n${USAGE}`);
  process.exit(2);
}
// The client's own workers would keep the process alive.
process.exit(await main(given));
