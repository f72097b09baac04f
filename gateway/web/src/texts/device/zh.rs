//! 简体中文。

use super::{Advice, Device};

pub(in crate::texts) const TEXTS: Device = Device {
    activation: "激活",
    step_activate: "由所有者激活",
    step_activate_wait: "收到第一帧之后进行。",
    step_activate_now: "如果还没有，请在您的平台上输入所有者码。随后门锁与平台会自动相互证明，几分钟内完成。",
    step_activate_done: "平台已签名确认。",
    activated: "门锁已激活",
    activated_more: "门锁与平台已相互证明所有者码，全部完成。",
    wrong_code: Advice {
        what: "所有者码不对",
        todo: "请将平台上输入的码与门锁第二张标签核对，并在平台上重新输入，切勿在此输入。然后触碰门锁：它会自动重试。",
    },
    owned: Advice {
        what: "这把门锁已属于他人",
        todo: "它此前已被激活，不接受其他所有者。须由现所有者在其平台上释放，并按下门内按钮，之后才能激活。",
    },
    signed_by: "由本网关已固定其密钥的平台签名。",
};
