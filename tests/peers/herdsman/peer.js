// zigbee-herdsman 10.9.5 at the serial port of a coordinator. One JSON object a line on standard input, one answer a line on
// standard output, in order; an answer is {"ok": ...} or {"error": text}.
//
// {"do": "start", "path", "database", "extended_pan": [8 numbers], "pan", "channel", "key": [16 numbers]}
//     -> {"result": "reset" | "resumed", "network": {...}, "version": {...}, "coordinator": {"eui", "endpoints"}}
// {"do": "permit", "seconds"}                 -> true
// {"do": "interviewed", "eui", "seconds"}     -> what the interview found, once it has ended well
// {"do": "read", "eui", "cluster", "attributes"} -> {attribute: value}
// {"do": "report", "eui"}                     -> binds the Door Lock cluster and has its state reported
// {"do": "command", "eui", "command", "pin"}  -> the lock's answer (null where herdsman waits for none: it takes the number of
//     the answer to a lock command, 0, for "no answer"), and unless that is a refusal the report that follows
// {"do": "neighbours"}                        -> the coordinator's table
// {"do": "remove", "eui"}                     -> whether it is forgotten, once the coordinator has answered
// {"do": "stop"}                              -> true
"use strict";

const readline = require("node:readline");
const { Controller, setLogger } = require("zigbee-herdsman");

const silent = () => {};
const shown = (text) => console.error(typeof text === "function" ? text() : text);
setLogger({ debug: silent, info: silent, warning: shown, error: shown });

let controller;
const heard = [];

function device(eui) {
    const found = controller.getDeviceByIeeeAddr(eui);
    if (!found) throw new Error(`no device ${eui}`);
    return found;
}

async function until(what, seconds, ready) {
    const end = Date.now() + seconds * 1000;
    for (;;) {
        const value = ready();
        if (value) return value;
        if (Date.now() > end) throw new Error(`${what}: not within ${seconds} s`);
        await new Promise((resolve) => setTimeout(resolve, 20));
    }
}

const actions = {
    async start({ path, database, extended_pan, pan, channel, key }) {
        controller = new Controller({
            network: { panID: pan, extendedPanID: extended_pan, channelList: [channel], networkKey: key },
            serialPort: { path, adapter: "zboss", baudRate: 115200, rtscts: false },
            databasePath: database,
            databaseBackupPath: null,
            backupPath: null,
            adapter: { concurrent: 1, disableLED: false },
            acceptJoiningDeviceHandler: async () => true,
        });
        for (const event of ["deviceJoined", "deviceInterview", "deviceLeave", "message", "adapterDisconnected"]) {
            controller.on(event, (data) => heard.push({ event, data }));
        }
        const result = await controller.start();
        const [coordinator] = controller.getDevicesByType("Coordinator");
        return {
            result,
            network: await controller.getNetworkParameters(),
            version: await controller.getCoordinatorVersion(),
            coordinator: { eui: coordinator.ieeeAddr, endpoints: coordinator.endpoints.map((e) => e.ID) },
        };
    },
    async permit({ seconds }) {
        await controller.permitJoin(seconds);
        return true;
    },
    async interviewed({ eui, seconds }) {
        const ended = await until(`the interview of ${eui}`, seconds, () =>
            heard.find(({ event, data }) =>
                event === "deviceInterview" && data.device.ieeeAddr === eui && data.status !== "started"));
        const found = device(eui);
        return {
            status: ended.data.status,
            type: found.type,
            manufacturer: found.manufacturerName,
            manufacturer_code: found.manufacturerID,
            model: found.modelID,
            power: found.powerSource,
            endpoints: found.endpoints.map((e) => ({
                id: e.ID, profile: e.profileID, device: e.deviceID, servers: e.inputClusters, clients: e.outputClusters,
            })),
        };
    },
    async read({ eui, cluster, attributes }) {
        return await device(eui).getEndpoint(1).read(cluster, attributes);
    },
    async report({ eui }) {
        const endpoint = device(eui).getEndpoint(1);
        const [coordinator] = controller.getDevicesByType("Coordinator");
        await endpoint.bind("closuresDoorLock", coordinator.getEndpoint(1));
        await endpoint.configureReporting("closuresDoorLock", [
            { attribute: "lockState", minimumReportInterval: 0, maximumReportInterval: 3600, reportableChange: 0 },
        ]);
        return true;
    },
    async command({ eui, command, pin }) {
        heard.length = 0;
        const answer = await device(eui).getEndpoint(1).command("closuresDoorLock", command, { pincodevalue: pin });
        if (answer && answer.status !== 0) return { answer, report: null };
        const report = await until("the report", 5, () =>
            heard.find(({ event, data }) => event === "message" && data.type === "attributeReport"));
        const operation = heard.find(({ event, data }) =>
            event === "message" && data.type === "commandOperationEventNotification");
        return { answer: answer ?? null, report: report.data.data, operation: operation ? operation.data.data : null };
    },
    async neighbours() {
        const [coordinator] = controller.getDevicesByType("Coordinator");
        return await coordinator.lqi();
    },
    async remove({ eui }) {
        await device(eui).removeFromNetwork();
        return controller.getDeviceByIeeeAddr(eui) === undefined;
    },
    async stop() {
        await controller.stop();
        return true;
    },
};

(async () => {
    for await (const line of readline.createInterface({ input: process.stdin })) {
        const question = JSON.parse(line);
        let answer;
        try {
            answer = { ok: await actions[question.do](question) };
        } catch (error) {
            answer = { error: `${error.message}` };
        }
        const plain = (_, value) => (typeof value === "bigint" ? Number(value) : value);
        process.stdout.write(`${JSON.stringify(answer, plain)}\n`);
    }
    process.exit(0);
})();
