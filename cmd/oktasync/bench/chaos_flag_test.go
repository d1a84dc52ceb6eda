package bench

import _ "github.com/oktasync/oktasync/state/statetest/chaos" // the flag -chaos.histories
