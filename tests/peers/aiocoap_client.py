"""An aiocoap client that speaks OSCORE. Arguments: a directory with settings.json (aiocoap FilesystemSecurityContext),
the UDP port of a server on the loopback, and the number of requests.

Sends POST /l with the payloads "0", "1", ... one after the other and prints code and payload of each response. The Echo
challenge of a server that lost its replay window (RFC 8613 appendix B.1.2) is answered by aiocoap itself.
"""

import asyncio
import sys

import aiocoap


async def main(directory, port, count):
    context = await aiocoap.Context.create_client_context(transports=["oscore", "udp6"])
    base = f"coap://127.0.0.1:{port}/"
    context.client_credentials.load_from_dict({base + "*": {"oscore": {"basedir": directory}}})
    for number in range(count):
        request = aiocoap.Message(code=aiocoap.POST, uri=base + "l", payload=str(number).encode())
        response = await asyncio.wait_for(context.request(request).response, 10)
        print(response.code, response.payload.decode(), flush=True)
    await context.shutdown()


asyncio.run(main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3])))
