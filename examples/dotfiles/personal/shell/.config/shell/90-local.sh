export EDITOR=nvim
export PAGER='less --quit-if-one-screen --RAW-CONTROL-CHARS'
