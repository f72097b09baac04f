"""An aiocoap server that speaks OSCORE. Argument: a directory with settings.json (aiocoap FilesystemSecurityContext).

Prints "port" and the UDP port it listens on, then serves until it is killed: POST /l answers "ok:" and the request's
payload, GET /s answers "locked".
"""

import asyncio
import sys

import aiocoap
from aiocoap import oscore_sitewrapper, resource
from aiocoap.credentials import CredentialsMap


class Bolt(resource.Resource):
    async def render_post(self, request):
        return aiocoap.Message(code=aiocoap.CHANGED, payload=b"ok:" + request.payload)


class Status(resource.Resource):
    async def render_get(self, request):
        return aiocoap.Message(code=aiocoap.CONTENT, payload=b"locked")


async def main(directory):
    credentials = CredentialsMap()
    credentials.load_from_dict({":lock": {"oscore": {"basedir": directory}}})
    site = resource.Site()
    site.add_resource(["l"], Bolt())
    site.add_resource(["s"], Status())
    context = await aiocoap.Context.create_server_context(
        oscore_sitewrapper.OscoreSiteWrapper(site, credentials),
        bind=("127.0.0.1", 0),
        server_credentials=credentials,
        transports=["udp6"],
    )
    transport = context.request_interfaces[0].token_interface.message_interface.transport
    print("port", transport.get_extra_info("socket").getsockname()[1], flush=True)
    await asyncio.get_running_loop().create_future()


asyncio.run(main(sys.argv[1]))
