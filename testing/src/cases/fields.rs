//! An H.264 stream of field pictures (PAFF), which no encoder in ffmpeg makes.
//!
//! Each frame is two coded pictures, a top and a bottom field. Once a second both are intra;
//! between, a field changes one macroblock by raw samples and skips the rest, so every field leans
//! on the one before it of the same parity and a decoder that starts late is caught.

/// Macroblocks in a row.
const COLUMNS: u32 = 6;
/// Macroblock rows of a field; a frame has twice as many.
const ROWS: u32 = 4;
/// Frames from one intra pair to the next.
const GOP: u32 = 25;

/// Bits, most significant first.
#[derive(Default)]
struct Bits {
    bytes: Vec<u8>,
    used: u32,
}

impl Bits {
    fn put(&mut self, count: u32, value: u32) {
        for bit in (0..count).rev() {
            if self.used.is_multiple_of(8) {
                self.bytes.push(0);
            }
            if let Some(last) = self.bytes.last_mut() {
                *last |= u8::from(value >> bit & 1 == 1) << (7 - self.used % 8);
            }
            self.used += 1;
        }
    }

    /// An unsigned Exp-Golomb number.
    fn ue(&mut self, value: u32) {
        let length = (value + 1).ilog2();
        self.put(length, 0);
        self.put(length + 1, value + 1);
    }

    fn align(&mut self) {
        while !self.used.is_multiple_of(8) {
            self.put(1, 0);
        }
    }

    /// The unit with its start code, trailing bits and emulation prevention.
    fn unit(mut self, header: u8) -> Vec<u8> {
        self.put(1, 1);
        self.align();
        let mut unit = vec![0, 0, 0, 1, header];
        let mut zeros = 0;
        for byte in self.bytes {
            if zeros >= 2 && byte <= 3 {
                unit.push(3);
                zeros = 0;
            }
            zeros = if byte == 0 { zeros + 1 } else { 0 };
            unit.push(byte);
        }
        unit
    }
}

/// So many frames as an Annex B stream.
pub(super) fn stream(frames: u32) -> Vec<u8> {
    let mut out = Vec::new();
    for frame in 0..frames {
        let place = frame % GOP;
        if place == 0 {
            out.extend(sequence().unit(0x67));
            out.extend(parameters().unit(0x68));
        }
        for bottom in [false, true] {
            // Only the first field of an intra pair may be an IDR picture.
            let idr = place == 0 && !bottom;
            out.extend(field(frame, bottom).unit(if idr { 0x65 } else { 0x61 }));
        }
    }
    out
}

fn sequence() -> Bits {
    let mut sps = Bits::default();
    sps.put(8, 77); // Main profile: the least that knows fields.
    sps.put(8, 0);
    sps.put(8, 30);
    sps.ue(0); // The set's id.
    sps.ue(4); // frame_num has 8 bits.
    sps.ue(0); // Order by explicit count,
    sps.ue(4); // of 8 bits.
    sps.ue(2); // Reference frames.
    sps.put(1, 0); // No gaps in frame_num.
    sps.ue(COLUMNS - 1);
    sps.ue(ROWS - 1);
    sps.put(1, 0); // Not frames only,
    sps.put(1, 0); // nor frame or field by macroblock: by picture.
    sps.put(1, 1); // direct_8x8_inference, required for fields.
    sps.put(1, 0); // No cropping.
    sps.put(1, 0); // No usability information.
    sps
}

fn parameters() -> Bits {
    let mut pps = Bits::default();
    pps.ue(0);
    pps.ue(0);
    pps.put(1, 0); // CAVLC.
    pps.put(1, 0);
    pps.ue(0); // One slice group.
    pps.ue(0); // One reference in list 0,
    pps.ue(0); // and 1.
    pps.put(3, 0); // No weighted prediction.
    pps.ue(0);
    pps.ue(0);
    pps.ue(0); // Neutral quantisers, signed zeros.
    pps.put(1, 1); // Deblocking is told by slices.
    pps.put(2, 0);
    pps
}

/// A field: intra as a whole at the start of a GOP, else all but one macroblock skipped.
fn field(frame: u32, bottom: bool) -> Bits {
    let place = frame % GOP;
    let (intra, idr) = (place == 0, place == 0 && !bottom);
    let mut slice = Bits::default();
    slice.ue(0);
    slice.ue(if intra { 2 } else { 0 });
    slice.ue(0);
    slice.put(8, place); // frame_num: every frame is a reference.
    slice.put(1, 1); // A field picture,
    slice.put(1, u32::from(bottom));
    if idr {
        slice.ue(frame / GOP % 2);
    }
    slice.put(8, 2 * place + u32::from(bottom)); // Order count.
    if !intra {
        slice.put(2, 0); // Neither another number nor another order of references.
    }
    slice.put(if idr { 2 } else { 1 }, 0); // Reference marking by sliding window.
    slice.ue(0); // Quantiser as the parameters say (signed zero).
    slice.ue(1); // No deblocking.

    let all = COLUMNS * ROWS;
    if intra {
        for block in 0..all {
            slice.ue(25); // I_PCM among intra types.
            samples(&mut slice, frame, block, bottom);
        }
    } else {
        let changed = (frame * 5 + u32::from(bottom) * 7) % all;
        slice.ue(changed); // Skipped before it.
        slice.ue(30); // I_PCM among predicted types.
        samples(&mut slice, frame, changed, bottom);
        if changed + 1 < all {
            slice.ue(all - 1 - changed);
        }
    }
    slice
}

/// A macroblock's raw samples: a gradient that moves with the frame.
fn samples(slice: &mut Bits, frame: u32, block: u32, bottom: bool) {
    slice.align();
    let shade = |at: u32| 16 + (at * 3 + frame * 11 + block * 17 + u32::from(bottom) * 5) % 216;
    for at in 0..384 {
        slice.put(8, shade(at));
    }
}
