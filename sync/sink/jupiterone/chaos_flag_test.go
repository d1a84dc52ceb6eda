package jupiterone_test

import _ "github.com/oktasync/oktasync/state/statetest/chaos" // the flag -chaos.histories
