// Members that commit at once: every commit wins in the end, and all agree on the last.
import assert from 'node:assert/strict';

import { until } from '../deadline.mjs';

const ROUNDS = 5;

export async function run(network) {
  const [zoe, abe, bea] = await network.crowd(3);
  const group = await zoe.conversations.createGroup([abe.inboxId, bea.inboxId]);
  const atAbe = await abe.find(group.id);
  const atBea = await bea.find(group.id);
  // Past the commit that comes with each joiner's first message.
  await atAbe.sendText('abe is here');
  await atBea.sync();
  await atBea.sendText('bea is here');
  await Promise.all([group, atAbe, atBea].map((at) => at.sync()));

  for (let round = 0; round < ROUNDS; round++) {
    await Promise.all([
      group.updateName(`zoe ${round}`),
      atAbe.updateDescription(`abe ${round}`),
      atBea.sendText(`bea ${round}`),
    ]);
    await until(`everyone agrees in round ${round}`, async () => {
      await Promise.all([group, atAbe, atBea].map((at) => at.sync()));
      return [group, atAbe, atBea].every((at) => at.name === `zoe ${round}` && at.description === `abe ${round}`);
    });
  }

  // Both write the same field: one of them is last, for everyone.
  await Promise.all([group.updateName('zoe was last'), atAbe.updateName('abe was last')]);
  await until('everyone agrees on the last name', async () => {
    await Promise.all([group, atAbe, atBea].map((at) => at.sync()));
    return group.name === atAbe.name && group.name === atBea.name && group.name.endsWith('was last');
  });
  for (const [member, at] of [
    [zoe, group],
    [abe, atAbe],
    [bea, atBea],
  ]) {
    const texts = (await at.messages()).filter(({ content }) => /^bea \d/.test(content));
    assert.equal(texts.length, ROUNDS, `${member.name} misses a message sent beside the commits`);
    assert.ok(!(await at.debugInfo()).maybeForked, `${member.name} sees a fork`);
  }
}
