// Two wallets come to two edges, and each finds the other.
import assert from 'node:assert/strict';

import { Client } from '@xmtp/node-sdk';

import { within } from '../deadline.mjs';

export async function run(network) {
  const alice = await network.open('alice');
  const bob = await network.open('bob');
  assert.notEqual(alice.inboxId, bob.inboxId, 'two wallets have one inbox');

  const stranger = network.wallet('stranger');
  const reachable = await alice.client.canMessage([bob.wallet.identifier, stranger.identifier]);
  assert.equal(reachable.get(bob.wallet.address), true, 'a registered wallet cannot be messaged');
  assert.equal(reachable.get(stranger.address), false, 'a wallet that never registered can be messaged');

  assert.equal(await bob.client.fetchInboxIdByIdentifier(alice.wallet.identifier), alice.inboxId, 'the inbox of an address is another');
  assert.equal(await bob.client.fetchInboxIdByIdentifier(stranger.identifier), null, 'a stranger has an inbox');

  const [state] = await bob.client.preferences.fetchInboxStates([alice.inboxId]);
  assert.deepEqual(state.identifiers, [alice.wallet.identifier], 'the inbox has other identifiers');
  assert.deepEqual(state.installations.map(({ id }) => id), [alice.client.installationId], 'the inbox has other installations');
  assert.deepEqual(state.recoveryIdentifier, alice.wallet.identifier, 'the inbox is recovered by another wallet');

  const statuses = await bob.client.fetchKeyPackageStatuses([alice.client.installationId]);
  assert.equal(statuses[alice.client.installationId].validationError ?? '', '', 'the key package is not valid');

  // The same database again, at the other edge: nothing is registered anew.
  const before = alice.client.installationId;
  await alice.moveTo(bob.edge);
  assert.equal(alice.client.installationId, before, 'the installation is another after it moved');
  assert.ok(alice.client instanceof Client && alice.client.isRegistered, 'the installation is not registered any more');

  await atOnce(network);
}

// One wallet begins its inbox at two edges: one beginning is kept, and whoever lost comes again as a second installation.
async function atOnce(network) {
  const wallet = network.wallet('twin');
  const twins = [];
  for (const name of ['twin, one', 'twin, two']) {
    twins.push(await network.open(name, { wallet, disableAutoRegister: true }));
  }
  const outcomes = await Promise.allSettled(twins.map(({ name, client }) => within(`${name} registers`, client.register())));
  const won = twins.filter((_, i) => outcomes[i].status === 'fulfilled');
  assert.ok(won.length >= 1, `neither of two that register at once comes through: ${outcomes[0].reason?.message}`);
  if (won.length === 1) won.push(await network.open('twin, again', { wallet }));
  assert.equal(won[0].inboxId, won[1].inboxId, 'one wallet has two inboxes');
  const { installations } = await won[0].client.preferences.fetchInboxState();
  const ids = new Set(installations.map(({ id }) => id));
  assert.ok(won.every(({ client }) => ids.has(client.installationId)), 'an installation that registered is not in its inbox');
}
