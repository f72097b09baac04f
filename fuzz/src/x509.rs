//! Factory identities: PEM files, certificates and requests from strangers.

use cardea_x509::{Makers, from_pem, request_key, to_pem};

/// 2027-01-15, when the seeds hold.
const NOW: u64 = 1_800_000_000;

/// A PEM file whose last certificate is trusted, or one object in DER. A chain that is accepted has its key in DER and
/// its name from that key.
pub fn x509_chain(data: &[u8]) {
    let _ = request_key(data);
    let Some(chain) = std::str::from_utf8(data).ok().and_then(|text| from_pem(text).ok()) else {
        let _ = Makers::default().verify(&[data], NOW);
        return;
    };
    let Some(root) = chain.last().and_then(|root| to_pem(root).ok()) else { return };
    let Ok(makers) = Makers::from_pem(&root) else { return };
    let all: Vec<&[u8]> = chain.iter().map(Vec::as_slice).collect();
    if let (Ok(device), Some(first)) = (makers.verify(&all, NOW), all.first()) {
        let id: String = device.thumbprint().iter().take(8).map(|byte| format!("{byte:02x}")).collect();
        assert!(first.windows(16).any(|window| window == id.as_bytes()), "accepted without its name");
        assert!(device.ends >= NOW, "accepted after its end");
    }
}
