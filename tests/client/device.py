"""An OCF device made with aiocoap: as much of one as the client commands look at.

usage: device.py HOST PORT [GROUP%INTERFACE ...]

The package URL says how an update goes: .../good, .../bad (refused after half of the download),
.../restart (the device is silent for a while, and its observers are forgotten), .../same (there is
nothing to do), .../cascade (it installs whatever was asked for, as IoTivity-Lite's server does),
.../never (it does not begin), .../stays (it downloads until it is told to be idle), .../deaf (it
downloads whatever it is told), .../busy (the order is refused for now).

AHEAD in the environment is how far its clock is ahead, seconds; "none" for a device that tells no time.
"""

import asyncio
import datetime
import os
import sys

import aiocoap
import aiocoap.resource
import cbor2

DI = "11111111-2222-4333-8444-555555555555"
SIZE = 33_554_432

update = {"purl": "", "swupdateaction": "idle", "swupdatestate": "idle", "swupdateresult": 0,
          "updatetime": "1970-01-01T00:00:00Z", "lastupdate": "2026-01-01T00:00:00Z",
          "signed": "vendor"}
status = {"running": "1.0.0", "phase": "idle", "bytesdone": 0, "bytesexpected": 0}


def answer(value, code=aiocoap.CONTENT):
    return aiocoap.Message(code=code, payload=cbor2.dumps(value), content_format=10000)


class Fixed(aiocoap.resource.Resource):
    def __init__(self, value):
        super().__init__()
        self.value = value

    async def render_get(self, request):
        return answer(self.value())


class Watched(aiocoap.resource.ObservableResource):
    def __init__(self, value):
        super().__init__()
        self.value = value

    async def render_get(self, request):
        return answer(self.value)


class Update(Watched):
    async def render_post(self, request):
        order = cbor2.loads(request.payload)
        if order.get("swupdateaction") == "idle" and not update["purl"].endswith("deaf"):
            device.stop()
            update.update(order, swupdatestate="idle")
            status["phase"] = "idle"
            return answer(update, aiocoap.CHANGED)
        if order.get("swupdateaction") == "idle":
            return answer(update, aiocoap.CHANGED)
        if not order["purl"]:
            return aiocoap.Message(code=aiocoap.BAD_REQUEST, payload=b"purl: no built-in URL")
        if order["purl"].endswith("busy"):
            busy = aiocoap.Message(code=aiocoap.SERVICE_UNAVAILABLE, payload=b"an update is under way")
            busy.opt.max_age = 30
            return busy
        update.update(order, swupdateresult=0)
        device.working = asyncio.ensure_future(device.work(order["purl"]))
        return answer(update, aiocoap.CHANGED)


def clock():
    ahead = os.environ.get("AHEAD", "0")
    if ahead == "none":
        return {}
    time = datetime.datetime.now(datetime.UTC) + datetime.timedelta(seconds=int(ahead))
    return {"st": time.isoformat()}


class Device:
    working = None

    def stop(self):
        if self.working:
            self.working.cancel()

    async def serve(self):
        self.update, self.status = Update(update), Watched(status)
        site = aiocoap.resource.Site()
        for path, resource in {
            "oic/res": Fixed(links),
            "oic/d": Fixed(lambda: {"n": "Aio Camera", "di": DI, "sv": status["running"]}),
            "oic/p": Fixed(clock),
            "oic/sec/doxm": Fixed(lambda: {"owned": False, "deviceuuid": DI}),
            "oic/sec/pstat": Watched({"cm": 0, "tm": 0}),
            "oc/swu": self.update,
            "updatestatus": self.status,
            "echo": Echo(),
        }.items():
            site.add_resource(path.split("/"), resource)
        groups = [tuple(group.split("%")) for group in sys.argv[3:]]
        bind = (sys.argv[1], int(sys.argv[2]))
        self.context = await aiocoap.Context.create_server_context(site, bind=bind, multicast=groups)

    async def step(self, state, phase, pause=0.05, **more):
        update.update(more, swupdatestate=state)
        status["phase"] = phase
        self.update.updated_state()
        self.status.updated_state()
        await asyncio.sleep(pause)

    async def work(self, purl):
        if purl.endswith("never"):
            return
        await self.step("idle", "checking")
        if purl.endswith("same"):
            return await self.step("idle", "idle", swupdateaction="idle", swupdateresult=1)
        status.update(offered="1.1.0", bytesexpected=SIZE)
        await self.step("nsa", "available", nv="1.1.0")
        while purl.endswith(("stays", "deaf")):
            await self.step("svv", "fetching")
        for part in range(1, 5):
            status["bytesdone"] = SIZE * part // 4
            await self.step("svv", "fetching")
            if purl.endswith("bad") and part == 2:
                status["lasterror"] = "the digest is not the signed one"
                return await self.step("idle", "idle", swupdateaction="idle", swupdateresult=5)
        await self.step("sva", "staged")
        await self.step("upgrading", "installing")
        if purl.endswith("restart"):
            await self.context.shutdown()
            await asyncio.sleep(4)
            status.update(running="1.1.0", phase="idle")
            update.update(swupdatestate="idle", swupdateaction="idle", swupdateresult=1)
            return await self.serve()
        await self.step("upgrading", "trial", 0.3)
        status["running"] = "1.1.0"
        update.pop("nv")
        now = datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        await self.step("idle", "idle", swupdateaction="idle", swupdateresult=1, lastupdate=now)


class Echo(aiocoap.resource.Resource):
    """Answers with what was posted, and under which content format."""

    async def render_post(self, request):
        value = {"format": int(request.opt.content_format), "body": cbor2.loads(request.payload)}
        return answer(value, aiocoap.CHANGED)


def links():
    def link(href, kind):
        return {"anchor": f"ocf://{DI}", "href": href, "rt": [kind], "if": ["oic.if.baseline"],
                "p": {"bm": 3}}

    return [link("/oic/d", "oic.wk.d"), link("/oic/sec/doxm", "oic.r.doxm"),
            link("/oc/swu", "oic.r.softwareupdate"), link("/oic/sec/pstat", "oic.r.pstat"),
            link("/updatestatus", "x.freshen.r.updatestatus")]


async def main():
    await device.serve()
    print("ready", flush=True)
    await asyncio.get_running_loop().create_future()


device = Device()
asyncio.run(main())
