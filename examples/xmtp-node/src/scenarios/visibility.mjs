// Registering returns once every node that the edge lists shows the inbox.
import assert from 'node:assert/strict';

import { Wire } from '../wire.mjs';

export async function run(network) {
  const newcomer = await network.open('newcomer', {
    waitForRegistrationVisible: { quorumPercentage: 1, timeoutMs: 30_000 },
  });
  for (const edge of network.edges) {
    const wire = new Wire(edge);
    const { responses } = await wire.call('Replication', 'GetInboxIds', {
      requests: [{ identifier: newcomer.wallet.address, identifierKind: 'IDENTIFIER_KIND_ETHEREUM' }],
    });
    wire.close();
    assert.equal(responses[0].inboxId, newcomer.inboxId, `${edge} does not show an inbox that all had shown`);
  }
}
