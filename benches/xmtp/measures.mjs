// What is timed: each measure prepares itself on a network, and then gives samples in milliseconds, one a call.
import { Watch } from '../../examples/xmtp-node/src/watch.mjs';

const GROUP = 40;

export const measures = [
  { name: 'register', samples: GROUP, percentiles: [50], prepare: registering },
  { name: 'create DM', samples: 20, percentiles: [50], prepare: creatingDms },
  { name: "joiner's first send", samples: 20, percentiles: [50], prepare: joining },
  { name: 'group of 40', samples: 7, percentiles: [50], prepare: creatingGroups },
  { name: 'send', samples: 200, percentiles: [50, 95], prepare: sending },
  { name: 'send → stream', samples: 200, percentiles: [50, 95], prepare: streaming },
  { name: 'metadata commit', samples: 30, percentiles: [50], prepare: committing },
];

async function timed(work) {
  const start = performance.now();
  await work();
  return performance.now() - start;
}

// Fills the crowd that the other measures take from.
async function registering(network) {
  let count = 0;
  return () => timed(() => network.crowd(++count));
}

async function creatingDms(network) {
  const [host, ...others] = await network.crowd(GROUP);
  return () => timed(() => host.conversations.createDm(others.pop().inboxId));
}

// Among those whom the measure before has not met.
async function joining(network) {
  const crowd = await network.crowd(GROUP);
  const host = crowd[1];
  const others = crowd.slice(2);
  return async () => {
    const joiner = others.pop();
    const dm = await host.conversations.createDm(joiner.inboxId);
    const here = await joiner.find(dm.id);
    return timed(() => here.sendText('here I am'));
  };
}

async function creatingGroups(network) {
  const [host, ...others] = await network.crowd(GROUP);
  const inboxes = others.map(({ inboxId }) => inboxId);
  return () => timed(() => host.conversations.createGroup(inboxes));
}

// Two who have both sent already, so that no joiner's commit is in the way.
async function pair(network, name) {
  const from = await network.open(`${name}, from`);
  const to = await network.open(`${name}, to`);
  const dm = await from.conversations.createDm(to.inboxId);
  await (await to.find(dm.id)).sendText('ready');
  await dm.sync();
  return { from, to, dm };
}

async function sending(network) {
  const { dm } = await pair(network, 'send');
  let count = 0;
  return () => timed(() => dm.sendText(`text ${count++}`));
}

async function streaming(network) {
  const { to, dm } = await pair(network, 'stream');
  const watch = await Watch.over('the stream', (on) => to.conversations.streamAllMessages(on));
  let count = 0;
  return async () => {
    const text = `text ${count++}`;
    let sent;
    const took_ms = await timed(() => {
      sent = dm.sendText(text);
      return watch.next(text, ({ content }) => content === text);
    });
    await sent;
    return took_ms;
  };
}

async function committing(network) {
  const [host, ...others] = await network.crowd(4);
  const group = await host.conversations.createGroup(others.map(({ inboxId }) => inboxId));
  let count = 0;
  return () => timed(() => group.updateName(`name ${count++}`));
}
