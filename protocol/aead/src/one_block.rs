//! AES-128 as a mode of operation sees it that takes one block at a time.

use aes::cipher::inout::InOut;
use aes::cipher::{
    Block, BlockCipherEncBackend, BlockCipherEncClosure, BlockCipherEncrypt, BlockSizeUser, Key, KeyInit,
    KeySizeUser, ParBlocksSizeUser,
};
use ccm::consts::{U1, U16};

/// AES-128 of the `aes` crate, for encryption, without its code for several blocks at once: our messages have a few dozen
/// bytes, and in software that code is half of all AES in a lock's flash (docs/decisions/0010-aes-one-block-at-a-time.md).
pub struct Aes128(aes::Aes128);

impl KeySizeUser for Aes128 {
    type KeySize = U16;
}

impl KeyInit for Aes128 {
    fn new(key: &Key<Self>) -> Self {
        Self(aes::Aes128::new(key))
    }
}

impl BlockSizeUser for Aes128 {
    type BlockSize = U16;
}

impl ParBlocksSizeUser for Aes128 {
    type ParBlocksSize = U1;
}

impl BlockCipherEncrypt for Aes128 {
    fn encrypt_with_backend(&self, f: impl BlockCipherEncClosure<BlockSize = U16>) {
        f.call(self);
    }
}

impl BlockCipherEncBackend for Aes128 {
    #[inline(never)] // once in the firmware
    fn encrypt_block(&self, block: InOut<'_, '_, Block<Self>>) {
        self.0.encrypt_block_inout(block);
    }
}
