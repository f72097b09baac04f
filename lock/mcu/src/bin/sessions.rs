//! EDHOC (Responder, suite 2, method 3, credentials by `kid`) and OSCORE (server) with all cryptography in software and
//! nothing else: what other libraries of this kind are measured as. Linked to be measured; it is never run.
#![no_std]
#![no_main]

use cardea_credentials::{Error, PublicKey, Random, SoftAgreement};
use cardea_edhoc::{
    AuthKey, ConnId, EphemeralKey, IdCred, Method, OscoreKeys, Responder, ResponderConfig, Suite,
};
use cardea_oscore::{Algorithm, Context, ReplayGuard, Window};

/// What cannot be known while compiling.
#[inline(never)]
fn read(register: usize) -> u32 {
    // SAFETY: never run.
    unsafe { ((0x4000_0000 + register) as *const u32).read_volatile() }
}

#[inline(never)]
fn send(bytes: &[u8]) {
    // SAFETY: never run.
    bytes.iter().for_each(|&byte| unsafe { (0x4000_0000 as *mut u32).write_volatile(u32::from(byte)) });
}

fn fill(out: &mut [u8]) {
    out.iter_mut().for_each(|byte| *byte = read(0) as u8);
}

fn receive(out: &mut [u8]) -> &[u8] {
    fill(out);
    out.get(..read(4) as usize).unwrap_or_default()
}

struct Registers;

impl Random for Registers {
    fn fill(&mut self, out: &mut [u8]) -> Result<(), Error> {
        fill(out);
        Ok(())
    }
}

#[cortex_m_rt::entry]
fn main() -> ! {
    let mut key = [0; 32];
    fill(&mut key);
    if let Ok(dh) = SoftAgreement::from_bytes(&key)
        && let Some(keys) = handshake(&dh)
    {
        serve(&keys);
    }
    halt()
}

fn handshake(dh: &SoftAgreement) -> Option<OscoreKeys> {
    let (mut message, mut plaintext, mut credential, mut key) = ([0; 256], [0; 256], [0; 100], [0; 33]);
    fill(&mut credential);
    fill(&mut key);
    let peer_key = PublicKey::from_sec1(&key).ok()?;
    let mut responder = Responder::new(ResponderConfig {
        suites: &[Suite::S2],
        methods: &[Method::StaticDh],
        c_r: ConnId::new(&[7]).ok()?,
        known_eads: &[],
    });
    responder.handle_message_1(receive(&mut message)).ok()?;
    let ephemeral = EphemeralKey::generate(Suite::S2, &mut Registers).ok()?;
    let own = AuthKey::Agreement(dh);
    let len =
        responder.message_2(ephemeral, &IdCred::Kid(&[1]), &credential, &own, &[], &mut message).ok()?;
    send(message.get(..len)?);
    let peer = responder.parse_message_3(receive(&mut message), &mut plaintext).ok()?;
    let IdCred::Kid(_) = peer.id_cred else { return None };
    responder.verify_message_3(&peer, &credential, peer_key).ok()?;
    let len = responder.message_4(&[], &mut message).ok()?;
    send(message.get(..len)?);
    responder.oscore().ok()
}

fn serve(keys: &OscoreKeys) -> Option<()> {
    let (sender, recipient) = (keys.sender_id.as_bytes(), keys.recipient_id.as_bytes());
    let algorithm = Algorithm::AesCcm16_64_128;
    let mut context = Context::derive(algorithm, keys.secret(), &keys.salt, None, sender, recipient).ok()?;
    let mut window = Window::new();
    let (mut message, mut plain) = ([0; 256], [0; 256]);
    loop {
        let (len, mut binding) = context.unprotect_request(receive(&mut message), &mut plain).ok()?;
        window.commit(binding.partial_iv()).ok()?;
        send(plain.get(..len)?);
        let answer = receive(&mut plain);
        let len = context.protect_response(&mut binding, None, answer, &mut message).ok()?;
        send(message.get(..len)?);
    }
}

fn halt() -> ! {
    loop {
        cortex_m::asm::nop();
    }
}

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    halt()
}
