"""Watches resources with aiocoap, a CoAP stack that we did not write.

    observe.py URI...

Prints one JSON line for each representation: {"uri": ..., "body": ...}. Ends when standard input
does.
"""

import asyncio
import json
import sys

import aiocoap
import cbor2


async def watch(context, uri):
    request = context.request(aiocoap.Message(code=aiocoap.GET, uri=uri, observe=0))
    tell(uri, await request.response)
    async for notification in request.observation:
        tell(uri, notification)


def tell(uri, message):
    body = cbor2.loads(message.payload) if message.code.is_successful() else str(message.code)
    print(json.dumps({"uri": uri, "body": body}), flush=True)


async def main(uris):
    context = await aiocoap.Context.create_client_context()
    watches = [asyncio.create_task(watch(context, uri)) for uri in uris]
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    for task in watches:
        task.cancel()
    await context.shutdown()


asyncio.run(main(sys.argv[1:]))
