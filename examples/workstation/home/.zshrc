# Kept by plan: change it in the package, not here.
setopt hist_ignore_dups share_history
HISTFILE=~/.zsh_history HISTSIZE=20000 SAVEHIST=20000
autoload -U compinit && compinit -u -D  # no dump file: the home stays what the package made it
alias gs='git status --short'
alias ll='ls -l'
PROMPT='%F{blue}%~%f %# '
