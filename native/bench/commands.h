// The commands of farpage_bench. Each reads its options and prints one JSON object per line.
#pragma once

#include "bench/options.h"

namespace farpage::bench {

void ServeCommand(Options& options);
void ClientCommand(Options& options);
void PingPongCommand(Options& options);
void InitiatorCommand(Options& options);
void SyncCommand(Options& options);
void ColdCommand(Options& options);
void BesideCommand(Options& options);
void TouchCommand(Options& options);
void KeepCommand(Options& options);
void PinCommand(Options& options);
void CacheCommand(Options& options);
void PolicyCommand(Options& options);
void PunchCommand(Options& options);
void DecompressCommand(Options& options);

}  // namespace farpage::bench
