// The commands of raw_bench. Each reads its options, measures, prints one JSON object per line.
#pragma once

#include "options.h"

namespace farpage::raw {

void ServeCommand(Options& options);
void ClientCommand(Options& options);
void PingPongCommand(Options& options);
void SyncCommand(Options& options);
void ColdCommand(Options& options);
void TouchCommand(Options& options);

}  // namespace farpage::raw
