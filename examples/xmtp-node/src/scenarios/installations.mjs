// A wallet's second installation joins its conversations, and is out once it is revoked.
import assert from 'node:assert/strict';

import { Client, createBackend } from '@xmtp/node-sdk';

import { until } from '../deadline.mjs';

// A sender looks for new installations a few seconds apart, so another text sooner changes nothing.
const TEXT_EVERY_MS = 500;

export async function run(network) {
  const phone = await network.open('cal');
  const friend = await network.open('dee');
  const group = await phone.conversations.createGroup([friend.inboxId]);
  const dm = await friend.conversations.createDm(phone.inboxId);
  await group.sendText('before the laptop');
  await friend.readsText(group.id, 'before the laptop');

  const laptop = await network.open('cal, second', { wallet: phone.wallet });
  assert.equal(laptop.inboxId, phone.inboxId, 'the second installation has another inbox');
  assert.notEqual(laptop.client.installationId, phone.client.installationId, 'the second installation is the first');
  const state = await phone.client.preferences.fetchInboxState();
  assert.equal(state.installations.length, 2, 'the inbox has not two installations');

  // It is added with something that anyone sends.
  const atFriend = await friend.find(group.id);
  for (const conversation of [atFriend, dm]) {
    await until(
      `the laptop joins ${conversation.id}`,
      async () => {
        await conversation.sendText('is everyone here');
        await laptop.conversations.sync();
        return laptop.here(conversation.id);
      },
      { poll_ms: TEXT_EVERY_MS },
    );
  }
  await atFriend.sendText('to both, in the group');
  await dm.sendText('to both, alone');
  await laptop.readsText(group.id, 'to both, in the group');
  await laptop.readsText(dm.id, 'to both, alone');
  await phone.readsText(group.id, 'to both, in the group');
  const atLaptop = await laptop.find(group.id);
  await atLaptop.sendText('from the laptop');
  assert.equal((await phone.readsText(group.id, 'from the laptop')).senderInboxId, phone.inboxId, 'the laptop is someone else');
  await friend.readsText(group.id, 'from the laptop');

  await phone.client.revokeInstallations([laptop.client.installationIdBytes]);
  const left = await phone.client.preferences.fetchInboxState();
  assert.deepEqual(left.installations.map(({ id }) => id), [phone.client.installationId], 'the laptop is not revoked');
  assert.equal(await isAuthorized(friend, laptop), false, 'a revoked installation is authorised');

  // Whoever sends next takes it out.
  await until(
    'the laptop is out of the group',
    async () => {
      await atFriend.sendText('without the laptop');
      const members = await atFriend.members();
      return !members.some(({ installationIds }) => installationIds.includes(laptop.client.installationId));
    },
    { poll_ms: TEXT_EVERY_MS },
  );
  const last = await atFriend.sendText('after the laptop');
  await phone.reads('what follows', group.id, (all) => all.some(({ id }) => id === last));
  await atLaptop.sync().catch(() => {});
  assert.ok(!(await atLaptop.messages()).some(({ id }) => id === last), 'a revoked installation reads on');

  await phone.client.revokeAllOtherInstallations();
}

async function isAuthorized(asker, installation) {
  const backend = await createBackend({ env: 'local', gatewayHost: asker.edge });
  return Client.isInstallationAuthorized(installation.inboxId, installation.client.installationIdBytes, backend);
}
