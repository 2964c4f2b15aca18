// An inbox takes a second wallet, is found and reached by it, changes who may recover it, and lets a wallet go.
import assert from 'node:assert/strict';

export async function run(network) {
  const eli = await network.open('eli');
  const flo = await network.open('flo');
  const second = network.wallet('eli, second wallet');

  // The client wants it said that the wallet may leave an inbox of its own, which this one has not.
  await eli.client.unsafe_addAccount(second.signer, true);
  const two = await flo.client.preferences.fetchInboxStates([eli.inboxId]);
  assert.deepEqual(
    new Set(two[0].identifiers.map(({ identifier }) => identifier)),
    new Set([eli.wallet.address, second.address]),
    'the inbox has other identifiers',
  );
  assert.equal(await flo.client.fetchInboxIdByIdentifier(second.identifier), eli.inboxId, 'the second wallet leads elsewhere');
  const reachable = await flo.client.canMessage([second.identifier]);
  assert.equal(reachable.get(second.address), true, 'the second wallet cannot be messaged');
  const dm = await flo.conversations.createDmWithIdentifier(second.identifier);
  await dm.sendText('to the second wallet');
  await eli.readsText(dm.id, 'to the second wallet');

  // A wallet that an inbox holds opens an installation of that inbox.
  const other = await network.open('eli, by the second wallet', { wallet: second });
  assert.equal(other.inboxId, eli.inboxId, 'the second wallet opens another inbox');

  // The recovery wallet, and it alone, takes members out.
  await eli.client.removeAccount(second.identifier);
  const one = await flo.client.preferences.fetchInboxStates([eli.inboxId]);
  assert.deepEqual(one[0].identifiers, [eli.wallet.identifier], 'the second wallet is not removed');
  assert.equal(await flo.client.fetchInboxIdByIdentifier(second.identifier), null, 'a removed wallet leads to the inbox');

  const rescuer = network.wallet('rescuer');
  await eli.client.changeRecoveryIdentifier(rescuer.identifier);
  const changed = await flo.client.preferences.fetchInboxStates([eli.inboxId]);
  assert.deepEqual(changed[0].recoveryIdentifier, rescuer.identifier, 'the inbox is recovered by another wallet');
}
