//! The MP4 code against what the installed ffmpeg writes, and ffmpeg against what it writes.

#[cfg(test)]
mod audio;
#[cfg(test)]
mod codecs;
#[cfg(test)]
mod hostile;
#[cfg(test)]
mod sound;
#[cfg(test)]
mod tools;
#[cfg(test)]
mod video;
