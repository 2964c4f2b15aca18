// Messages that disappear: the setting reaches the other side, and the message goes from both.
import assert from 'node:assert/strict';

import { until } from '../deadline.mjs';

const NS_PER_MS = 1_000_000n;
const LIFE_MS = 2_000n;

export async function run(network) {
  const xia = await network.open('xia');
  const yan = await network.open('yan');
  const group = await xia.conversations.createGroup([yan.inboxId]);
  await group.sendText('to stay');
  await group.updateMessageDisappearingSettings(BigInt(Date.now()) * NS_PER_MS, LIFE_MS * NS_PER_MS);

  const atYan = await yan.find(group.id);
  await until('yan sees the setting', async () => {
    await atYan.sync();
    return atYan.isMessageDisappearingEnabled();
  });
  assert.equal(atYan.messageDisappearingSettings().inNs, LIFE_MS * NS_PER_MS, 'messages live for another time');

  const sent = await group.sendText('to go');
  await yan.reads('what will go', group.id, (all) => all.some(({ id }) => id === sent));
  for (const [reader, conversation] of [
    [xia, group],
    [yan, atYan],
  ]) {
    await until(`the message is gone at ${reader.name}`, async () => {
      await conversation.sync();
      return !(await conversation.messages()).some(({ id }) => id === sent);
    });
    const left = (await conversation.messages()).map(({ content }) => content);
    assert.ok(left.includes('to stay'), `a message from before the setting is gone at ${reader.name}`);
  }

  await atYan.sync();
  await group.removeMessageDisappearingSettings();
  await until('yan sees that messages stay', async () => {
    await atYan.sync();
    return !atYan.isMessageDisappearingEnabled();
  });
}
