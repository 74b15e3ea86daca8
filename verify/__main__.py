"""python -m verify"""

from export_and_verify import main

if __name__ == "__main__":
    main()
