// A group of 40 over all edges: everyone joins, reads the first message, and is read by everyone.
import assert from 'node:assert/strict';

import { across } from '../deadline.mjs';

const MEMBERS = 40;
const ANSWERS = 5;
const AT_ONCE = 4;

export async function run(network) {
  const [first, ...others] = await network.crowd(MEMBERS);
  const start = Date.now();
  const group = await first.conversations.createGroup(
    others.map(({ inboxId }) => inboxId),
    { groupName: 'forty' },
  );
  const created_ms = Date.now() - start;
  await group.sendText('welcome');

  await across(others, AT_ONCE, async (member) => {
    await member.readsText(group.id, 'welcome');
    const here = await member.find(group.id);
    assert.equal(here.name, 'forty', `${member.name} knows the group by another name`);
    assert.equal((await here.members()).length, MEMBERS, `${member.name} counts other members`);
  });

  // A joiner's first message comes with a commit of its own, so these take turns.
  for (const member of others.slice(0, ANSWERS)) await (await member.find(group.id)).sendText(`from ${member.name}`);
  const all = await network.crowd(MEMBERS);
  await across(all, AT_ONCE, (member) =>
    member.reads('the answers', group.id, (read) => read.filter(({ content }) => String(content).startsWith('from ')).length === ANSWERS),
  );

  const epochs = await across(all, AT_ONCE, async (member) => {
    const here = await member.find(group.id);
    await here.sync();
    return here.debugInfo();
  });
  assert.equal(new Set(epochs.map(({ epoch }) => epoch)).size, 1, 'members are in different epochs');
  assert.ok(!epochs.some(({ maybeForked }) => maybeForked), 'a member sees a fork');
  return `created in ${created_ms} ms`;
}
