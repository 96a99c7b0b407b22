# Targets: `core` (no Node in it), `farpage` (the Node-API border), `farpage_bench` (what `farpage bench`
# runs) and, for developers only (dev=1), the native test program. src/native/build.mjs is the way to call this; it keeps a
# tree of its own for every sanitizer.
{
  'variables': {
    'dev%': 0,          # 1: -Werror, native_test
    'sanitize%': '',    # address,undefined | thread
  },
  'target_defaults': {
    'cflags!': ['-fno-omit-frame-pointer', '-O3'],
    'cflags_cc!': ['-std=gnu++14', '-std=gnu++17', '-std=gnu++20', '-O3'],
    'cflags': ['-fPIC'],
    'cflags_cc': [
      '-std=c++20', '-fno-exceptions', '-fno-rtti', '-fvisibility=hidden',
      '-Wall', '-Wextra', '-Wno-unused-parameter', '-pthread',
    ],
    'ldflags': ['-pthread'],
    'include_dirs': ['native'],
    'conditions': [
      ['dev==1', { 'cflags_cc': ['-Werror'] }],
      ['sanitize==""', { 'cflags_cc': ['-O2'] }],
      ['sanitize!=""', {
        'cflags': ['-fsanitize=<(sanitize)'],
        'cflags_cc': ['-fsanitize=<(sanitize)', '-fno-sanitize-recover=all', '-fno-omit-frame-pointer', '-g1', '-O1'],
        'ldflags': ['-fsanitize=<(sanitize)'],
      }],
      # TSan does not model fences (where one stands, the counters around it are atomics anyway).
      ['sanitize=="thread"', { 'cflags_cc': ['-Wno-tsan'] }],
    ],
  },
  'targets': [
    {
      'target_name': 'core',
      'type': 'static_library',
      'cflags_cc!': ['-Wno-unused-parameter'],
      # LZ4's sources come with lmdb; -isystem keeps our warnings away from them.
      'cflags_cc': ['-Wshadow', '-Wconversion', '-isystem', '<!(node src/native/lz4.mjs)'],
      'sources': ['<!@(node src/native/sources.mjs native/base native/os native/memory native/pager native/stores native/fabric)'],
    },
    {
      'target_name': 'farpage',
      'dependencies': ['core'],
      'include_dirs': ['<!@(node -p "require(\'node-addon-api\').include_dir")'],
      'defines': ['NAPI_VERSION=9', 'NAPI_DISABLE_CPP_EXCEPTIONS', 'NODE_ADDON_API_DISABLE_DEPRECATED',
                  # A worker that is terminated can take no exception any more: drop it, do not abort.
                  'NODE_API_SWALLOW_UNTHROWABLE_EXCEPTIONS'],
      'sources': ['<!@(node src/native/sources.mjs native/binding)'],
    },
    {
      # The smallest programs that move the same bytes, and the initiator in the same loop.
      'target_name': 'farpage_bench',
      'type': 'executable',
      'dependencies': ['core'],
      'cflags_cc!': ['-Wno-unused-parameter'],
      'cflags_cc': ['-Wshadow', '-Wconversion', '-isystem', '<!(node src/native/lz4.mjs)'],
      'sources': ['<!@(node src/native/sources.mjs native/bench)'],
    },
  ],
  'conditions': [
    ['dev==1', {
      'targets': [
        {
          'target_name': 'native_test',
          'type': 'executable',
          'dependencies': ['core'],
          'include_dirs': ['test/native'],
          'cflags_cc': ['-Wshadow', '-Wconversion'],
          # test/native/system_calls.cc meets them on their way to the kernel.
          'ldflags': [
            '-Wl,--wrap=open64,--wrap=pread64,--wrap=pwrite64,--wrap=pwritev64v2,--wrap=ftruncate64',
            '-Wl,--wrap=fdatasync,--wrap=fsync,--wrap=fallocate64,--wrap=madvise,--wrap=link,--wrap=unlink,--wrap=rename',
            # IoRing::QueueWrite, Enter and Reap: test/native/ring_calls.cc.
            '-Wl,--wrap=_ZN7farpage6IoRing10QueueWriteEiPKvjmim',
            '-Wl,--wrap=_ZN7farpage6IoRing5EnterEj',
            '-Wl,--wrap=_ZN7farpage6IoRing4ReapEPNS0_10CompletionE',
            # io_uring_setup(2) has no function of its own: test/native/ring_setup.cc.
            '-Wl,--wrap=syscall',
          ],
          'sources': ['<!@(node src/native/sources.mjs test/native)'],
        },
      ],
    }],
  ],
}
