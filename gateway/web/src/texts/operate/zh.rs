//! 简体中文。

use super::Operate;
use crate::texts::Advice;

pub(in crate::texts) const OPERATE: Operate = Operate {
    upstream: "消息服务器",
    map: "网络图",
    logs: "日志",
    system: "系统",

    radios_why: "各个无线电独立运行：其中一个出现故障时其他不受影响，网关会重新启动它。",
    network_id: "网络编号",
    channel: "信道",
    no_network: "尚无：在网关上运行 `cardea radio form zigbee` 建立",
    joining: "入网窗口",
    joining_closed: "已关闭：任何设备都不能加入",
    joining_open: |seconds| format!("还将开放 {seconds} 秒，仅限已获准接入的门锁"),
    duty: "最近一小时的发射占用",
    duty_of: |used, budget| format!("{used} / {budget} 秒"),
    duty_why: "法规限制发射机在每个频段的发射时长。额度用完后，数据帧会等待或过期。",
    backup_kept: "网关自动保留的备份",
    backup_none: "尚无",
    backup_unconfirmed: "已有，网关启动后尚未核对",
    backup_confirmed: |ago| format!("已有，{ago}核对"),
    backup_note: "适配器损坏时它能派上用场；网关本身损坏时则不能：请另存一份加密备份。",
    backup_and_restore: "备份或恢复此网络",
    move_title: "备份或恢复 Zigbee 网络",
    backup: "备份",
    backup_what: "文件包含另一个适配器接替此适配器所需的内容：网络、网络密钥和设备。它不能打开任何门。离开网关之前，文件会用您的口令加密（与 `age` 相同）。",
    passphrase: "口令",
    passphrase_again: "再次输入口令",
    passphrase_hint: "至少 12 个字符。没有口令任何人都无法打开文件，请与文件分开保存。",
    passphrase_short: "口令不足 12 个字符。",
    passphrase_long: "口令过长，最多 256 字节。",
    passphrase_differ: "两次输入的口令不一致。",
    passphrase_wrong: "此口令打不开该文件。",
    backup_button: "下载备份",
    restore: "恢复",
    restore_what: "适配器将被擦除、写入并重新启动，最多需要两分钟。备份中的门锁会自行恢复；其他门锁需要重新配对。",
    restore_file: "备份文件",
    restore_file_hint: "由本页面或 `cardea radio backup` 生成。用接收者公钥而非口令加密的文件，请在网关上用 `cardea radio restore` 恢复。",
    restore_kept: "网关保留的备份",
    restore_replace: "即使适配器中已有网络（将被擦除），或备份属于另一个网络",
    restore_unplugged: "原来使用此网络的适配器已拔下，并且不会再带着其中的数据重新插上",
    restore_need_unplugged: "两个适配器使用同一网络会毁掉该网络。请确认另一个已拔下。",
    restore_no_file: "请选择备份文件。",
    restore_button: "恢复网络",
    restore_kept_button: "恢复网关保留的备份",
    restoring: "正在恢复网络。请勿拔下适配器，最多需要两分钟。",
    restored: "网络已恢复",
    restored_more: |id, channel, anew, strangers| {
        format!(
            "网络 {id} 在信道 {channel} 上运行。需要重新配对的门锁：{anew}。未获准、将被要求离开的设备：{strangers}。"
        )
    },
    restore_failed: "网络未能恢复",
    busy: "另一项备份操作正在进行，请稍后再试。",

    upstream_title: "与消息服务器的连接",
    outbox: "等待上传的数据帧",
    outbox_more: |frames, bytes| format!("{frames} 帧，占用磁盘 {} KiB", bytes.div_ceil(1024)),
    outbox_oldest: "磁盘上最旧的一帧",
    outbox_empty: "无",
    outbox_since: |ago| format!("{ago}收到"),
    upstream_well: "连接正常：数据帧随到随传，命令可以下发。",
    unsealed: "普通门锁（非端到端）",
    try_broker: "测试或更改消息服务器",
    try_why: "网关会用您填写的内容逐步尝试连接，并说明哪一步不行、如何解决。此操作不更改任何设置：可用的设置会以配置文件的形式显示，因为只有能使用网关控制台的人才能更改网关连接的对象。",
    broker_url: "地址",
    broker_url_hint: "使用 TLS 填 mqtts://host:8883，否则填 mqtt://host:1883。",
    username: "用户名",
    username_hint: "地址与配置相同时留空，将使用配置中的用户名和密码。它们不会显示。",
    broker_password: "密码",
    ca_file: "签发服务器证书的机构的证书文件",
    cert_file: "客户端证书文件",
    key_file: "证书私钥文件",
    file_hint: "网关上的路径，例如 /etc/cardea/broker-ca.pem。留空则使用系统自带的机构。",
    certificates: "证书",
    try_button: "测试",
    test_works: "可以使用",
    test_client: |id| {
        format!(
            "测试使用客户端标识 {id}，因此网关自身的连接不受影响。该用户能否发布消息，只有实际使用时才知道：MQTT 3.1.1 不会告知。"
        )
    },
    test_failed: "无法使用",
    step_settings: "设置与文件有效",
    step_name: "域名可解析",
    step_tcp: "端口可连接",
    step_tls: "证书可信",
    step_login: "用户可登录",
    step_subscribe: "允许网关接收命令",
    paste: "用于配置文件",
    paste_why: "用以下内容替换 /etc/cardea/cardea.toml 中的 [mqtt] 部分，并保留您另外设置的其他键。把密码写入对应文件，仅允许网关读取。然后重启网关：`systemctl restart cardea`。",
    cause_settings: Advice {
        what: "设置或文件不可用",
        todo: "请按网关提示修正。文件须允许用户 cardea 读取。",
    },
    cause_name_unknown: Advice {
        what: "无法解析服务器域名",
        todo: "请检查拼写，并确认网关使用的域名服务器认识它；也可以直接使用服务器的地址。",
    },
    cause_port_closed: Advice {
        what: "该端口没有服务",
        todo: "请检查端口（无 TLS 为 1883，有 TLS 为 8883），并确认服务器正在运行。",
    },
    cause_unreachable: Advice {
        what: "无法到达服务器",
        todo: "请检查网关的网线或 Wi-Fi、路由器以及途中的防火墙。",
    },
    cause_silent: Advice {
        what: "没有应答",
        todo: "多半是防火墙丢弃了连接。请网络管理员允许网关访问该端口。",
    },
    cause_issuer: Advice {
        what: "证书的签发机构不受信任",
        todo: "请指定签发服务器证书的机构的文件。若已指定，则应答者可能另有其人：请与服务器管理员核对指纹。",
    },
    cause_expired: Advice {
        what: "服务器证书已过期",
        todo: "须由服务器管理员更新。若网关时钟过快，请校准时钟。",
    },
    cause_not_yet: Advice {
        what: "服务器证书尚未生效",
        todo: "网关时钟可能过慢：请确保它能访问时间服务器。",
    },
    cause_other_name: Advice {
        what: "证书属于另一个名称", todo: "请使用证书中的名称；网关提示中有说明。"
    },
    cause_certificate: Advice {
        what: "服务器证书有问题", todo: "须由服务器管理员修正。证书检查无法关闭。"
    },
    cause_tls: Advice {
        what: "TLS 失败",
        todo: "请确认端口使用 TLS，以及服务器是否要求客户端证书：若要求，请提供证书和私钥。",
    },
    cause_version: Advice {
        what: "服务器不支持 MQTT 3.1.1", todo: "请在服务器上启用该版本。"
    },
    cause_client_id: Advice {
        what: "服务器拒绝客户端标识",
        todo: "它可能只允许网关自己的标识，而不允许本次测试的标识；请查看服务器日志。",
    },
    cause_not_ready: Advice {
        what: "服务器未就绪", todo: "请稍后重试；原因见服务器日志。"
    },
    cause_password: Advice {
        what: "用户名或密码错误", todo: "请重新输入，或请服务器管理员重设密码。"
    },
    cause_not_authorised: Advice {
        what: "该用户无权连接",
        todo: "须由服务器管理员授权。有些服务器对错误密码也这样回答。",
    },
    cause_may_not_subscribe: Advice {
        what: "该用户无权接收网关的命令",
        todo: "服务器的访问规则须允许它订阅网关提示的主题；示例规则见文档。",
    },
    cause_not_mqtt: Advice {
        what: "该处应答的不是 MQTT 服务器",
        todo: "请检查端口：使用 TLS 通常为 8883，而不是网页端口。",
    },

    log_why: "内存中的最新日志，重启后重新开始。日志从不包含帧内容、密码或密钥。调试级别及以下会出现门锁编号。",
    log_level: "最低级别",
    log_words: "文字",
    log_none: "没有符合条件的内容。",
    log_error: "错误",
    log_warn: "警告",
    log_info: "信息",
    log_debug: "调试",
    log_trace: "跟踪",
    diagnosis: "诊断包",
    diagnosis_why: "供协助您的人使用：版本、配置、状态、指标和日志合为一个文件。其中没有密码、密钥或认领码；用户名和设备名称已略去。交给他人之前请先查看。",
    diagnosis_button: "下载诊断包",

    map_title: "网络连接图",
    map_why: "根据已收到的信号绘制，不会询问任何设备，也不消耗电池。Zigbee 门锁可能经由其他设备转发：网关看不到具体是哪个。",
    strong: "强",
    fair: "中",
    weak: "弱",
    not_heard: "未收到",
    map_of: |radio, strong, fair, weak, silent| {
        format!("{radio}：强 {strong}，中 {fair}，弱 {weak}，未收到 {silent}")
    },
    map_more: |n| format!("此无线电另有 {n} 把信号最好的门锁未画出"),
    map_table: "表格形式",

    history: "信号历史",
    history_why: |from, to| format!("每个时段最弱的一帧，从{from}到{to}。自网关启动以来保存在内存中。"),
    history_none: "网关启动以来未收到信号。",
    history_table: "数据",
    when: "时间",
    frames: "帧数",
    commands: "命令",
    commands_why: "命令内容是密封的；网关只知道送达情况。过期的命令不会被执行。",
    commands_none: "最近一小时内没有。",
    state_queued: "等待门锁",
    state_sent: "已发送",
    state_delivered: "已送达",
    state_expired: "发送前已过期",
    state_refused: "被拒绝",
    state_failed: "失败",
    reason_retained: "由服务器保留的旧消息",
    reason_clock: "时钟未同步",
    reason_busy: "在途命令过多",
    reason_not_after: "有效期不合理",
    reason_too_big: "超出无线电容量",
    reason_no_receipt: "门锁没有回执",
    reason_removed: "门锁已移除",
    reason_restart: "网关重启",
    reason_store: "磁盘故障",

    time: "时间",
    now: "当前时间",
    clock_from: "是否可信",
    clock_auto: "系统与时间服务器同步之后",
    clock_trust: "始终（按配置）",
    clock_why: "时钟不可信时，网关会拒绝有时限的命令。时间服务器由系统设置：请在网关上查看 `timedatectl`。",
    network: "网络",
    host_name: "名称",
    addresses: "地址",
    no_addresses: "没有可供访问的地址",
    names: "本页面的名称",
    network_why: "网络由系统管理：本页面只显示，不更改。",
    trust: "信任",
    trust_what: "网关不掌握关键权限：门锁依据网关没有的密钥作出判断。网关持有的只有自己的证书、无线网络的密钥和用于消息服务器的凭据。",
    trust_not: "此版本尚无站点证书机构（用于在本地签发和吊销门锁、手机的成员资格）：网关上没有可列出的凭据，也没有可吊销的内容。所有者与授权在您的平台上。",
    updates: "更新",
    updates_not: "此版本不会自动更新网关或门锁：网关随其系统更新，例如通过软件包或镜像。页面不会提示新版本，因为它不访问互联网。",
    safekeeping: "备份与重置",
    safekeeping_what: "无线网络逐个备份，各自加密，见无线电页面。",
    safekeeping_not: "任何备份都不包含：页面的认领、密码、会话、证书，以及等待上传的数据帧。新网关需要重新认领，门锁会重发未获回执的内容。",
    reset_how: "恢复出厂设置在网关控制台上进行，而不在此页面：停止服务，删除数据目录（默认 /var/lib/cardea）中的所有内容，再启动。这会清除认领、会话、证书、网络密钥、门锁登记以及所有等待上传的数据帧。不会清除含有服务器密码的 /etc/cardea、系统日志、其他地方的备份以及适配器中的数据。闪存中可能残留已删除文件的痕迹。",
    licences: "所含组件的许可证",
    licences_why: |n| {
        format!("除自有组件外，网关由以下 {n} 个软件包构成，并列出各自适用的许可证。清单在构建网关时生成。")
    },
    licence_texts: "许可证全文",
    sbom: "下载 CycloneDX 软件物料清单",
    shipped: "软件包",
};
