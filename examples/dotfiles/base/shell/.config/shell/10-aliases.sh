alias ll='ls -l --human-readable'
alias la='ls -l --almost-all'
alias ..='cd ..'
alias gs='git status --short --branch'
