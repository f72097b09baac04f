//! The library itself: the owner's, through bindings and the shim.
//!
//! All of it is called on one thread, the one that called [`Library::new`] and is in [`run`] afterwards; the type cannot be sent to
//! another. What the library says comes as calls into this module, maybe in the middle of a call of ours; so they only put a
//! [`Signal`] into a queue of that thread, and have the library call [`cardea_on_tick`] when it is idle.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::ffi::{CStr, CString};
use std::marker::PhantomData;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use cardea_zigbee::coordinator::{Answer, Failure, Frame, Network, Question};
use cardea_zigbee::descriptors::{Clusters, Neighbour, NodeDescriptor, SimpleDescriptor};
use cardea_zigbee::{Eui64, InstallCode, NwkAddr};

use crate::host::{ALL_CHANNELS, Begin, Indication, Signal, Stack};

/// What bindgen made of the owner's headers and of shim.h.
#[allow(
    missing_docs,
    dead_code,
    unreachable_pub,
    non_camel_case_types,
    non_snake_case,
    non_upper_case_globals,
    unsafe_op_in_unsafe_fn,
    clippy::all,
    clippy::undocumented_unsafe_blocks
)]
mod ffi {
    include!(concat!(env!("OUT_DIR"), "/zboss.rs"));
}

/// Milliseconds between two ticks when nothing happens: how long an order of the gateway may wait.
const TICK_MS: u16 = 15;
/// Signals that wait for a tick. Beyond so many, frames of devices are dropped.
const MAX_SIGNALS: usize = 512;

type OnTick = Box<dyn FnMut()>;

thread_local! {
    static SIGNALS: RefCell<VecDeque<Signal>> = const { RefCell::new(VecDeque::new()) };
    static ON_TICK: RefCell<Option<OnTick>> = const { RefCell::new(None) };
    /// A tick is on its way already.
    static TICKING: Cell<bool> = const { Cell::new(false) };
}

/// The library, which a process has once.
pub struct Library {
    /// Its thread is the one that made it.
    _thread: PhantomData<*const ()>,
}

impl Library {
    /// `None` where it was made before.
    #[must_use]
    pub fn new() -> Option<Self> {
        static MADE: AtomicBool = AtomicBool::new(false);
        (!MADE.swap(true, Ordering::Relaxed)).then_some(Self { _thread: PhantomData })
    }

    /// What it is, for the log.
    #[must_use]
    pub fn name() -> String {
        // SAFETY: takes nothing, may be called at any time; the headers promise a static string with an end.
        let version = unsafe {
            let version = ffi::zb_get_version();
            if version.is_null() {
                None
            } else {
                Some(CStr::from_ptr(version.cast()).to_string_lossy().into_owned())
            }
        };
        format!("ZBOSS {}", version.unwrap_or_default())
    }
}

/// The library's main loop, with `on_tick` called in it again and again. Returns if the library stops.
pub fn run(on_tick: OnTick) {
    ON_TICK.set(Some(on_tick));
    // SAFETY: on the library's thread, since `on_tick` has the library, which cannot be sent to another; it was begun.
    // What it calls are the functions below.
    unsafe {
        ffi::cardea_zb_tick_after(TICK_MS);
        ffi::zboss_main_loop();
    }
}

/// What the library has said since the last call.
#[must_use]
pub fn poll_signal() -> Option<Signal> {
    SIGNALS.with_borrow_mut(VecDeque::pop_front)
}

impl Stack for Library {
    fn begin(&mut self, begin: &Begin<'_>) -> Result<(), String> {
        let device = CString::new(begin.device).map_err(|_| "the port's name has a zero byte".to_owned())?;
        let SimpleDescriptor { endpoint, profile, device: kind, version, clusters } = begin.endpoint;
        let count = |list: &[u16]| u8::try_from(list.len()).map_err(|_| "too many clusters".to_owned());
        let (servers, clients) = (count(&clusters.servers)?, count(&clusters.clients)?);
        let all = [&clusters.servers[..], &clusters.clients[..]].concat();
        let channels = begin.form.map_or(ALL_CHANNELS, |(plan, _)| plan.channels & ALL_CHANNELS);
        // SAFETY: on the library's thread, once, in the order that its documentation has: ZB_INIT, then what is to be
        // known before the start, then the start. Pointers are valid during their call; `all` has as many clusters as said.
        unsafe {
            ffi::cardea_zb_init(device.as_ptr());
            ffi::zb_set_network_coordinator_role(channels);
            ffi::zb_set_max_children(begin.max_children);
            ffi::zb_set_rx_on_when_idle(1 as _);
            // Never left to a default: a start that erases is a network lost.
            ffi::zb_set_nvram_erase_at_start(begin.form.is_some_and(|(_, replace)| replace).into());
            if let Some((plan, _)) = begin.form {
                let mut pan = reversed(plan.extended_pan);
                ffi::zb_set_extended_pan_id(pan.as_mut_ptr());
                if let Some(pan) = plan.pan {
                    ffi::zb_set_pan_id(pan);
                }
                let mut key = plan.key.clone();
                ffi::zb_secur_setup_nwk_key(key.0.as_mut_ptr(), 0);
            }
            if ffi::cardea_zb_register(*endpoint, *profile, *kind, *version, servers, clients, all.as_ptr())
                != 0
            {
                return Err("too many clusters".into());
            }
            ffi::cardea_zb_manufacturer(begin.manufacturer);
        }
        self.set_policies();
        // SAFETY: as above.
        let status = unsafe { ffi::zboss_start_no_autostart() };
        if status == 0 { Ok(()) } else { Err(format!("the library does not start: status {status}")) }
    }

    fn commission(&mut self, form: bool) -> bool {
        // SAFETY: on the library's thread, after its SKIP_STARTUP.
        unsafe { ffi::cardea_zb_commission(form.into()) != 0 }
    }

    fn network(&self) -> Option<Network> {
        let (mut coordinator, mut extended_pan) = ([0; 8], [0; 8]);
        // SAFETY: on the library's thread; both arrays have the 8 bytes that are written.
        let (pan, channel) = unsafe {
            if u64::from(ffi::zb_zdo_joined()) == 0 {
                return None;
            }
            ffi::zb_get_long_address(coordinator.as_mut_ptr());
            ffi::zb_get_extended_pan_id(extended_pan.as_mut_ptr());
            (ffi::zb_get_pan_id(), ffi::zb_get_current_channel())
        };
        let eui = |bytes: [u8; 8]| reversed(Eui64(bytes));
        Some(Network {
            coordinator: Eui64(eui(coordinator)),
            extended_pan: Eui64(eui(extended_pan)),
            pan,
            channel,
        })
    }

    fn set_policies(&mut self) {
        // SAFETY: on the library's thread, after ZB_INIT.
        unsafe {
            ffi::zb_set_installcode_policy(1 as _);
            // Without legacy devices each has to take a link key of its own.
            ffi::zb_bdb_set_legacy_device_support(0);
            ffi::zb_zdo_set_aps_unsecure_join(0 as _);
            ffi::zb_secur_set_tc_rejoin_enabled(1 as _);
            ffi::zb_secur_set_ignore_tc_rejoin(0 as _);
        }
    }

    fn permit(&mut self, dst: NwkAddr, seconds: u8) -> bool {
        // SAFETY: on the library's thread, while its network layer runs.
        unsafe { ffi::cardea_zb_permit(dst.0, seconds) >= 0 }
    }

    fn add_code(&mut self, eui: Eui64, code: &InstallCode) {
        let (device, bytes) = (reversed(eui), code.as_bytes());
        let len = u8::try_from(bytes.len()).unwrap_or(0);
        // SAFETY: on the library's thread; 8 bytes of address, `len` of code.
        unsafe { ffi::cardea_zb_add_code(device.as_ptr(), bytes.as_ptr(), len) };
    }

    fn remove_code(&mut self, eui: Eui64) {
        let device = reversed(eui);
        // SAFETY: on the library's thread; 8 bytes of address.
        unsafe { ffi::cardea_zb_remove_code(device.as_ptr()) };
    }

    fn send(&mut self, frame: &Frame) -> Result<u8, Failure> {
        let (to, len) =
            (reversed(frame.eui), u8::try_from(frame.payload.len()).map_err(|_| Failure::TooBig)?);
        // SAFETY: on the library's thread; 8 bytes of address, `len` of payload, which the library copies.
        let sent = unsafe {
            ffi::cardea_zb_send(
                to.as_ptr(),
                frame.profile,
                frame.cluster,
                frame.dst_endpoint,
                frame.src_endpoint,
                frame.acknowledge.into(),
                frame.payload.as_ptr(),
                len,
            )
        };
        match u8::try_from(sent) {
            Ok(0) => Err(Failure::Busy),
            Ok(number) => Ok(number),
            Err(_) => Err(Failure::Refused(format!("status {sent} of the library"))),
        }
    }

    fn ask(&mut self, nwk: NwkAddr, eui: Eui64, question: &Question) -> Option<u8> {
        let (device, NwkAddr(nwk)) = (reversed(eui), nwk);
        // SAFETY: on the library's thread, while its network layer runs; addresses have 8 bytes.
        let number = unsafe {
            match question {
                Question::Node => ffi::cardea_zb_ask_node(nwk),
                Question::Endpoints => ffi::cardea_zb_ask_endpoints(nwk),
                Question::Endpoint(endpoint) => ffi::cardea_zb_ask_endpoint(nwk, *endpoint),
                Question::Bind { endpoint, cluster, to_endpoint } => {
                    let mut to = [0; 8];
                    ffi::zb_get_long_address(to.as_mut_ptr());
                    ffi::cardea_zb_ask_bind(
                        nwk,
                        device.as_ptr(),
                        *endpoint,
                        *cluster,
                        to.as_ptr(),
                        *to_endpoint,
                    )
                }
                Question::Leave => ffi::cardea_zb_ask_leave(nwk, device.as_ptr()),
                Question::Neighbours { start } => ffi::cardea_zb_ask_neighbours(nwk, *start),
            }
        };
        u8::try_from(number).ok()
    }

    fn nwk(&self, eui: Eui64) -> Option<NwkAddr> {
        let mut device = reversed(eui);
        // SAFETY: on the library's thread; 8 bytes of address.
        let nwk = NwkAddr(unsafe { ffi::zb_address_short_by_ieee(device.as_mut_ptr()) });
        nwk.is_unicast().then_some(nwk)
    }

    fn eui(&self, nwk: NwkAddr) -> Option<Eui64> {
        let mut device = [0; 8];
        // SAFETY: on the library's thread; the array has the 8 bytes that are written.
        let status = unsafe { ffi::zb_address_ieee_by_short(nwk.0, device.as_mut_ptr()) };
        (status == 0 && device != [0; 8] && device != [0xFF; 8]).then(|| Eui64(reversed(Eui64(device))))
    }
}

/// The library has the least significant byte first.
fn reversed(eui: Eui64) -> [u8; 8] {
    let mut bytes = eui.0;
    bytes.reverse();
    bytes
}

/// # Safety
/// `address` has 8 bytes.
unsafe fn address(address: *const u8) -> Eui64 {
    // SAFETY: the caller's promise; bytes have no alignment.
    Eui64(reversed(Eui64(unsafe { address.cast::<[u8; 8]>().read() })))
}

fn signal(signal: Signal) {
    SIGNALS.with_borrow_mut(|signals| {
        if signals.len() < MAX_SIGNALS || !matches!(signal, Signal::Received(_)) {
            signals.push_back(signal);
        }
    });
    if !TICKING.replace(true) {
        // SAFETY: on the library's thread, which called us. If it has no room, the next tick is not far.
        TICKING.set(unsafe { ffi::cardea_zb_tick_now() } == 0);
    }
}

/// A panic must not go through the library: `extern "C"` ends the process then, and the gateway starts another.
#[unsafe(no_mangle)]
extern "C" fn cardea_on_tick() {
    let asked = TICKING.replace(false);
    ON_TICK.with_borrow_mut(|on_tick| {
        if let Some(on_tick) = on_tick {
            on_tick();
        }
    });
    if !asked {
        // SAFETY: on the library's thread, which called us. Without the alarm nothing would turn any more.
        if unsafe { ffi::cardea_zb_tick_after(TICK_MS) } != 0 {
            std::process::abort();
        }
    }
}

#[unsafe(no_mangle)]
extern "C" fn cardea_on_signal(kind: u8, well: i32) {
    let well = well != 0;
    match u32::from(kind) {
        ffi::CARDEA_SIGNAL_SKIP_STARTUP => signal(Signal::SkipStartup),
        ffi::CARDEA_SIGNAL_STARTED => signal(Signal::Started { well }),
        ffi::CARDEA_SIGNAL_FORMATION => signal(Signal::Formation { well }),
        ffi::CARDEA_SIGNAL_LEFT => signal(Signal::SelfLeft),
        _ => {}
    }
}

/// # Safety
/// As shim.h says of pointers; so for the following ones.
#[unsafe(no_mangle)]
unsafe extern "C" fn cardea_on_update(device: *const u8, nwk: u16, status: u8) {
    // SAFETY: shim.h: 8 bytes.
    let eui = unsafe { address(device) };
    signal(Signal::Update { eui, nwk: NwkAddr(nwk), status });
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cardea_on_authorised(device: *const u8, nwk: u16, kind: u8, status: u8) {
    // SAFETY: shim.h: 8 bytes.
    let eui = unsafe { address(device) };
    signal(Signal::Authorised { eui, nwk: NwkAddr(nwk), kind, status });
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cardea_on_leave(device: *const u8, rejoin: i32) {
    // SAFETY: shim.h: 8 bytes.
    let eui = unsafe { address(device) };
    signal(Signal::Left { eui, rejoin: rejoin != 0 });
}

#[unsafe(no_mangle)]
extern "C" fn cardea_on_code_added(well: i32) {
    signal(Signal::CodeAdded { well: well != 0 });
}

#[unsafe(no_mangle)]
extern "C" fn cardea_on_sent(number: u8, status: i32) {
    signal(Signal::Sent { buffer: number, status });
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cardea_on_received(
    src: u16,
    profile: u16,
    cluster: u16,
    src_endpoint: u8,
    dst_endpoint: u8,
    lqi: u8,
    rssi: i8,
    payload: *const u8,
    len: u32,
) {
    // SAFETY: shim.h: `len` bytes.
    let payload = Bytes::copy_from_slice(unsafe { bytes(payload, len) });
    let src = NwkAddr(src);
    signal(Signal::Received(Indication {
        src,
        profile,
        cluster,
        src_endpoint,
        dst_endpoint,
        lqi,
        rssi,
        payload,
    }));
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cardea_on_answer(kind: u8, number: u8, status: u8, fields: *const u8, len: u32) {
    // SAFETY: shim.h: `len` bytes, none where the status is not good.
    let fields = unsafe { bytes(fields, len) };
    let answer = match status {
        0 => answer(kind, &mut Fields(fields)).ok_or(0x80),
        status => Err(status),
    };
    signal(Signal::Answer { tsn: number, answer });
}

/// # Safety
/// `len` bytes at `start`, for as long as the result lives; `start` may be null where there are none.
unsafe fn bytes<'a>(start: *const u8, len: u32) -> &'a [u8] {
    match usize::try_from(len) {
        Ok(len) if len > 0 && !start.is_null() => {
            // SAFETY: the caller's promise.
            unsafe { std::slice::from_raw_parts(start, len) }
        }
        _ => &[],
    }
}

/// Fields of an answer, as the shim writes them.
struct Fields<'a>(&'a [u8]);

impl Fields<'_> {
    fn u8(&mut self) -> Option<u8> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*first)
    }

    fn u16(&mut self) -> Option<u16> {
        Some(u16::from_le_bytes([self.u8()?, self.u8()?]))
    }

    fn eui(&mut self) -> Option<Eui64> {
        let (first, rest) = self.0.split_first_chunk::<8>()?;
        self.0 = rest;
        Some(Eui64(reversed(Eui64(*first))))
    }
}

fn answer(kind: u8, fields: &mut Fields<'_>) -> Option<Answer> {
    Some(match u32::from(kind) {
        ffi::CARDEA_ANSWER_NODE => Answer::Node(NodeDescriptor {
            flags: fields.u16()?,
            mac_capability: fields.u8()?,
            manufacturer: fields.u16()?,
            max_buffer: fields.u8()?,
            max_incoming: fields.u16()?,
            server_mask: fields.u16()?,
            max_outgoing: fields.u16()?,
            descriptor_capability: fields.u8()?,
        }),
        ffi::CARDEA_ANSWER_ENDPOINTS => {
            let count = fields.u8()?;
            Answer::Endpoints((0..count).map(|_| fields.u8()).collect::<Option<_>>()?)
        }
        ffi::CARDEA_ANSWER_ENDPOINT => {
            let (endpoint, profile) = (fields.u8()?, fields.u16()?);
            let (device, version) = (fields.u16()?, fields.u8()?);
            let (servers, clients) = (fields.u8()?, fields.u8()?);
            let mut list = |count: u8| (0..count).map(|_| fields.u16()).collect::<Option<Vec<_>>>();
            let clusters = Clusters { servers: list(servers)?, clients: list(clients)? };
            Answer::Endpoint(SimpleDescriptor { endpoint, profile, device, version, clusters })
        }
        ffi::CARDEA_ANSWER_DONE => Answer::Done,
        ffi::CARDEA_ANSWER_NEIGHBOURS => {
            let (total, count) = (fields.u8()?, fields.u8()?);
            let mut neighbour = || {
                Some(Neighbour {
                    extended_pan: fields.eui()?,
                    eui: fields.eui()?,
                    nwk: NwkAddr(fields.u16()?),
                    kind: fields.u8()?,
                    permit: fields.u8()?,
                    depth: fields.u8()?,
                    lqi: fields.u8()?,
                })
            };
            Answer::Neighbours { total, list: (0..count).map(|_| neighbour()).collect::<Option<_>>()? }
        }
        _ => return None,
    })
}
